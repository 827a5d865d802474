//! What every long-running command does with its process: signals and file descriptors.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// Waits for SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses, which it does not do on a sane machine.
    pub(crate) fn listen() -> Result<Signals, CliError> {
        let on = |kind| {
            signal(kind).map_err(|e| {
                CliError::failure(format!("signals: {e}; the server cannot be stopped in order"))
            })
        };
        // Without this a limit of file sizes ends the process; with it the write is refused, and the store takes no new work.
        let file_size = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        drop(on(file_size)?);
        Ok(Signals { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// The next of them; its name, for the log.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at once on the next signal: for somebody who does not want to wait for an orderly stop.
    pub(crate) async fn next_is_immediate(&mut self) {
        let name = self.next().await;
        super::output::note(format!("windlass: {name} again, ending at once"));
        super::shell::end_all();
        std::process::exit(1);
    }
}

/// Raises the soft limit of open files to the hard one: a connection per worker adds up. Failing is no reason not to run.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(why) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%why, "the limit of open files stays as it is");
    }
}
