//! A worker's connection: a thread with its own small runtime for the socket, the heartbeats and the gossip. In a simulation,
//! which has one thread, a task.

mod ledger;
mod pump;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::worker::Plan;
use pump::Pump;

/// Orders to the connection that wait at most: there are only two.
const CONTROL_ORDERS: usize = 4;

/// An order to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Take nothing new, finish what runs until the deadline, give the rest back, leave.
    Stop,
    /// Give everything back and leave.
    StopNow,
}

/// A worker that runs; dropping it is [`Control::StopNow`].
#[derive(Debug)]
pub(crate) struct Running {
    control: mpsc::Sender<Control>,
    done: oneshot::Receiver<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn tell(&self, order: Control) {
        // A connection that has ended already has nothing left to stop.
        let _ = self.control.send(order).await;
    }

    /// Waits for the end; must not be called again after that.
    pub(crate) async fn ended(&mut self) -> Result<(), Error> {
        let gone = |_| {
            Err(Error::Setup("the connection's thread ended without a word: this is a defect".to_owned()))
        };
        (&mut self.done).await.unwrap_or_else(gone)
    }
}

/// Starts the connection's thread. Handlers run on the present runtime.
pub(crate) fn start(plan: Plan) -> Result<Running, Error> {
    let setup = |what: &str, e: std::io::Error| Error::Setup(format!("{what}: {e}"));
    let app = tokio::runtime::Handle::try_current().map_err(|_| {
        Error::Setup("a worker runs inside of a tokio runtime; there is none here".to_owned())
    })?;
    let (control, orders) = mpsc::channel(CONTROL_ORDERS);
    let (tell_done, done) = oneshot::channel();
    if plan.surroundings.is_simulated() {
        tokio::spawn(async move {
            // Nobody listens when the worker's future was dropped.
            let _ = tell_done.send(Pump::new(Arc::new(plan), app, orders).run().await);
        });
        return Ok(Running { control, done });
    }
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| setup("the connection's runtime cannot be made", e))?;
    std::thread::Builder::new()
        .name("windlass-link".to_owned())
        .spawn(move || {
            let result = own.block_on(Pump::new(Arc::new(plan), app, orders).run());
            // Nobody listens when the worker's future was dropped.
            let _ = tell_done.send(result);
        })
        .map_err(|e| setup("the connection's thread cannot be started", e))?;
    Ok(Running { control, done })
}
