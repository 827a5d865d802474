//! A node from outside: started, asked for its addresses, stopped.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::run::{Order, Started, run};
use super::{NodeConfig, StartError};
use crate::api::ApiHandle;

/// Starts nodes.
pub struct Node;

/// A node that runs on its own thread. Dropping it ends it at once, like [`kill`](RunningNode::kill).
pub struct RunningNode {
    started: Started,
    orders: watch::Sender<Order>,
    ended: watch::Receiver<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Starts a node and waits until it serves. May be called from anywhere, also from inside a runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(config: NodeConfig) -> Result<RunningNode, StartError> {
        config.validate()?;
        let (orders, ordered) = watch::channel(Order::Run);
        let (tell_ended, ended) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("windlass-node".to_owned()).spawn(move || {
            run(config, ready, ordered);
            tell_ended.send_replace(true);
        })?;
        match is_ready.recv() {
            Ok(Ok(started)) => Ok(RunningNode { started, orders, ended, thread: Mutex::new(Some(thread)) }),
            Ok(Err(error)) => {
                // It has said why it ends.
                let _ = thread.join();
                Err(error)
            }
            Err(_) => {
                let _ = thread.join();
                Err(StartError::Failed("its thread ended without a word".to_owned()))
            }
        }
    }
}

impl RunningNode {
    /// Address of pages and HTTP API, with the real port.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.started.addrs.http
    }

    /// Address of the native port, with the real port.
    #[must_use]
    pub fn native_addr(&self) -> Option<SocketAddr> {
        self.started.addrs.native
    }

    /// Address of the Faktory port, with the real port.
    #[must_use]
    pub fn faktory_addr(&self) -> Option<SocketAddr> {
        self.started.addrs.faktory
    }

    /// Address of the gossip, with the real port.
    #[must_use]
    pub fn gossip_addr(&self) -> Option<SocketAddr> {
        self.started.addrs.gossip
    }

    /// Carries out requests without a socket. While another node owns the store they are answered with `Unavailable`.
    #[must_use]
    pub fn api(&self) -> ApiHandle {
        self.started.api.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops in order and waits until the store is closed. Legal twice.
    pub async fn stop(&self) {
        self.order(Order::Stop);
        self.stopped().await;
    }

    /// Resolves when the node has ended, for whatever reason.
    pub async fn stopped(&self) {
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Ends at once: connections break, what was not durable is lost. Blocks until the store is free for another start.
    pub fn kill(&self) {
        self.order(Order::Kill);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| {
            let more = order > *current;
            if more {
                *current = order;
            }
            more
        });
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.kill();
    }
}
