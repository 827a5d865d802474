//! Workers inside this process: started, waited for, stopped in order.

use std::future::Future;

use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass_worker::{Error, Worker};

use super::connect::translate;
use super::error::CliError;

/// A running worker; dropping it without [`stop`](Running::stop) ends it at once, as a crash would.
pub(crate) struct Running {
    server: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// Starts a worker on the present runtime.
pub(crate) fn start(server: &str, worker: Worker) -> Running {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { worker.run_until(token.cancelled()).await });
    Running { server: server.to_owned(), stop, task }
}

impl Running {
    /// Returns when the worker ends by itself, which it does only when it cannot work at all.
    ///
    /// # Errors
    /// Why it ended.
    pub(crate) async fn ended(&mut self) -> Result<(), CliError> {
        match (&mut self.task).await {
            Ok(ended) => ended.map_err(|e| translate(&self.server, &e).about("worker")),
            Err(e) => Err(CliError::failure(format!("worker: {e}; this is a defect"))),
        }
    }

    /// Takes nothing new, lets running jobs end within the worker's deadline, and gives back the rest.
    ///
    /// # Errors
    /// Why it could not stop in order.
    pub(crate) async fn stop(mut self) -> Result<(), CliError> {
        self.stop.cancel();
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a command that works, on a runtime with a thread per processor.
///
/// # Errors
/// Whatever the command returns.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    block_on_runtime(&mut Builder::new_multi_thread(), work)
}

/// The same on another runtime.
///
/// # Errors
/// Whatever the command returns.
pub(crate) fn block_on_runtime<T>(
    runtime: &mut Builder,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = runtime.enable_all().build().map_err(|e| {
        CliError::failure(format!("runtime: {e}; are threads or file descriptors exhausted?"))
    })?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    // After an orderly stop there are none; after an error their handlers may not get to end them.
    super::shell::end_all();
    result
}
