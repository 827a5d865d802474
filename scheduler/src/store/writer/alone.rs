//! Writes that belong to no queue: handed over at once, answered when they are durable.

use std::future::Future;

use tokio::sync::oneshot;
use windlass_core::store::{Batch, CommitError, Write};

use super::{StoreWriter, SubmitError};

/// Why writes did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Too much waits already.
    #[error("the store writer has too much waiting; try again in a moment")]
    Busy,
    /// The writer has stopped.
    #[error("the store writer has stopped")]
    Stopped,
    /// The store has refused them.
    #[error(transparent)]
    Refused(#[from] CommitError),
}

impl StoreWriter {
    /// Hands writes over that stand alone, all or none, before it returns; the answer comes when they are durable. `settles`: they
    /// may use the space that is kept in reserve.
    pub fn write(
        &self,
        writes: Vec<Write>,
        settles: bool,
    ) -> impl Future<Output = Result<(), Unwritten>> + Send + use<> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody listens when the node has been stopped meanwhile.
            let _ = tell.send(result);
        });
        let submitted = self.submit(Batch { writes, settles, queue: None }, done);
        async move {
            match submitted {
                Ok(()) => {}
                Err(SubmitError::Busy(_)) => return Err(Unwritten::Busy),
                Err(SubmitError::Stopped(_)) => return Err(Unwritten::Stopped),
            }
            let gone = || Err(CommitError::Unknown("the writer is gone".to_owned()));
            Ok(told.await.unwrap_or_else(|_| gone())?)
        }
    }
}
