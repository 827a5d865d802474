//! The kind `shell`: a job whose payload is a command line for `sh -c`.
//!
//! The command runs in its own process group, so that cancelling it ends its children too. What it writes to stdout is
//! the result, its exit status the verdict: 0 is done, anything else is a failed attempt with the end of stderr as
//! the error. It finds its job in `WINDLASS_JOB_ID`, `WINDLASS_QUEUE`, `WINDLASS_ATTEMPT` and `WINDLASS_TOKEN`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use windlass_core::job::Payload;
use windlass_core::limits;
use windlass_worker::{JobCtx, Verdict};

use super::connect::{TOKEN_ENV, TOKEN_FILE_ENV};
use crate::config::{ADMIN_TOKEN_ENV, FAKTORY_PASSWORD_ENV};

/// The kind that these jobs have.
pub(crate) const KIND: &str = "shell";
/// Bytes of stdout that become the result; the rest is read, counted and left out.
const STDOUT_BYTES_MAX: usize = limits::RESULT_BYTES_MAX - 1024;
/// Bytes of stderr, from its end, that become the error.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Time between the polite signal and the other one.
const KILL_AFTER: Duration = Duration::from_secs(3);
/// Time for which the pipes are still read when the command has ended: a daemon it started may hold them open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// What a payload says: the command alone, or with where and in which environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A JSON string.
    Command(String),
    /// An object.
    Detailed {
        /// For `sh -c`.
        command: String,
        /// Working directory. Defaults to the worker's.
        dir: Option<PathBuf>,
        /// Added to the environment.
        #[serde(default)]
        env: BTreeMap<String, String>,
    },
}

/// Runs a job of this kind. A command that was stopped counts as failed; the worker knows why it was stopped, and turns
/// that into "cancelled" or gives the job back.
pub(crate) async fn handle(job: JobCtx) -> Verdict {
    let context = Context {
        id: job.id().to_string(),
        queue: job.queue().to_string(),
        attempt: job.attempt(),
        token: format!("{}-{}", job.token().epoch, job.token().delivery),
    };
    match run(job.payload(), &context, job.cancelled()).await {
        Ended::Done(result) => Verdict::Done(Some(result)),
        Ended::Failed(error) => Verdict::retry(error),
        Ended::Refused(error) => Verdict::dead(error),
        Ended::Stopped => Verdict::retry("the command was stopped"),
    }
}

/// What the command may know about its job.
#[derive(Debug, Clone)]
struct Context {
    /// The job.
    pub(crate) id: String,
    /// Its queue.
    pub(crate) queue: String,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// Proof of the lease, larger with every hand-out: what a command writes elsewhere can be fenced with it.
    pub(crate) token: String,
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// With status 0; the result.
    Done(Payload),
    /// With another status, by a signal, or not begun; the error.
    Failed(String),
    /// The payload is no command line: no later attempt can succeed.
    Refused(String),
    /// It was told to stop.
    Stopped,
}

/// Runs the command of `payload` until it ends or `stop` resolves. Dropping the future kills the process group.
async fn run(payload: &Payload, context: &Context, stop: impl Future<Output = ()>) -> Ended {
    let line = match serde_json::from_slice::<Line>(&payload.data) {
        Ok(line) => line,
        Err(_) => {
            return Ended::Refused(
                "the payload of a shell job is a JSON string such as \"uname -a\", or {\"command\": …, \"dir\": …, \"env\": {…}}"
                    .to_owned(),
            );
        }
    };
    match spawn(line, context) {
        Ok((child, group)) => watch(child, group, stop).await,
        Err(why) => Ended::Failed(format!("the command was not started: {why}")),
    }
}

fn spawn(line: Line, context: &Context) -> std::io::Result<(Child, Group)> {
    let (text, dir, env) = match line {
        Line::Command(text) => (text, None, BTreeMap::new()),
        Line::Detailed { command, dir, env } => (command, dir, env),
    };
    let mut command = Command::new("sh");
    // Whoever may enqueue must not get hold of the worker's own token.
    command
        .env_remove(TOKEN_ENV)
        .env_remove(TOKEN_FILE_ENV)
        .env_remove(ADMIN_TOKEN_ENV)
        .env_remove(FAKTORY_PASSWORD_ENV);
    command.arg("-c").arg(text).envs(env);
    command.env("WINDLASS_JOB_ID", &context.id).env("WINDLASS_QUEUE", &context.queue);
    command.env("WINDLASS_ATTEMPT", context.attempt.to_string()).env("WINDLASS_TOKEN", &context.token);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn()?;
    let group = Group::of(&child);
    Ok((child, group))
}

/// Process groups of the commands that run in this process, for [`end_all`].
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Ends all commands at once, for a process that ends without waiting for its handlers.
pub(crate) fn end_all() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for leader in groups.into_iter().filter_map(Pid::from_raw) {
        // The group may be gone already, which is what is wanted.
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

/// The command's process group; killed when this is dropped.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Group {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).insert(leader.as_raw_nonzero().get());
        }
        Group { leader }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The group may be gone already, which is what was wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(leader) = self.leader {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&leader.as_raw_nonzero().get());
        }
    }
}

async fn watch(mut child: Child, group: Group, stop: impl Future<Output = ()>) -> Ended {
    let enough = CancellationToken::new();
    let stdout = child.stdout.take().map(|pipe| tokio::spawn(head(pipe, enough.clone())));
    let stderr = child.stderr.take().map(|pipe| tokio::spawn(tail(pipe, enough.clone())));
    let _readers_end = enough.clone().drop_guard();
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop => {
            group.signal(Signal::TERM);
            // Dropping the group ends whatever did not listen.
            let _ = tokio::time::timeout(KILL_AFTER, child.wait()).await;
            return Ended::Stopped;
        }
    };
    // What the command left behind in the background ends with it.
    drop(group);
    let output = async { (join(stdout).await, join(stderr).await) };
    tokio::pin!(output);
    let ((output, left_out), (errors, _)) = tokio::select! {
        both = &mut output => both,
        () = tokio::time::sleep(DRAIN) => {
            enough.cancel();
            output.await
        }
    };
    match status {
        Ok(status) if status.success() => Ended::Done(result(output, left_out)),
        Ok(status) => Ended::Failed(failure(status, &errors)),
        Err(why) => Ended::Failed(format!("the command's end is unknown: {why}")),
    }
}

type Reading = tokio::task::JoinHandle<(Vec<u8>, u64)>;

async fn join(reading: Option<Reading>) -> (Vec<u8>, u64) {
    match reading {
        Some(task) => task.await.unwrap_or_default(),
        None => (Vec::new(), 0),
    }
}

/// The next bytes of a pipe; none at its end, or when it was read for long enough.
async fn more(pipe: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], enough: &CancellationToken) -> usize {
    tokio::select! {
        read = pipe.read(buffer) => read.unwrap_or(0),
        () = enough.cancelled() => 0,
    }
}

/// The first bytes of a pipe, and how many more there were. All is read, so that the command never blocks.
async fn head(mut pipe: impl AsyncRead + Unpin, enough: CancellationToken) -> (Vec<u8>, u64) {
    let mut kept = Vec::new();
    let mut left_out = 0;
    let mut buffer = vec![0; 16 * 1024];
    while let count @ 1.. = more(&mut pipe, &mut buffer, &enough).await {
        let take = count.min(STDOUT_BYTES_MAX - kept.len());
        kept.extend_from_slice(&buffer[..take]);
        left_out += (count - take) as u64;
    }
    (kept, left_out)
}

/// The last bytes of a pipe, and how many there were before them.
async fn tail(mut pipe: impl AsyncRead + Unpin, enough: CancellationToken) -> (Vec<u8>, u64) {
    let mut kept = Vec::new();
    let mut left_out = 0;
    let mut buffer = vec![0; 16 * 1024];
    while let count @ 1.. = more(&mut pipe, &mut buffer, &enough).await {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..surplus);
        left_out += surplus as u64;
    }
    (kept, left_out)
}

/// Text becomes a JSON string, which every page and tool can show; other bytes stay as they are.
fn result(output: Vec<u8>, left_out: u64) -> Payload {
    let text = match String::from_utf8(output) {
        Ok(text) => text,
        Err(other) => {
            return Payload {
                content_type: "application/octet-stream".to_owned(),
                data: other.into_bytes().into(),
            };
        }
    };
    let note = if left_out == 0 { String::new() } else { format!("\n… ({left_out} more bytes left out)") };
    let text = text + &note;
    match serde_json::to_vec(&text) {
        Ok(json) if json.len() <= limits::RESULT_BYTES_MAX => Payload::json(json),
        // Escapes can make it longer than a result may be.
        _ => Payload { content_type: "text/plain; charset=utf-8".to_owned(), data: Bytes::from(text) },
    }
}

fn failure(status: ExitStatus, errors: &[u8]) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    };
    let errors = String::from_utf8_lossy(errors);
    let errors = errors.trim();
    if errors.is_empty() { how } else { format!("{how}: {errors}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(payload: &str) -> Ended {
        let context = Context { id: "id".into(), queue: "default".into(), attempt: 2, token: "1-3".into() };
        run(&Payload::json(payload.to_owned()), &context, std::future::pending()).await
    }

    fn text(ended: Ended) -> String {
        match ended {
            Ended::Done(payload) => serde_json::from_slice(&payload.data).expect("a JSON string"),
            other => panic!("not done: {other:?}"),
        }
    }

    #[tokio::test]
    async fn stdout_is_the_result_and_the_status_the_verdict() {
        assert_eq!(text(sh("\"echo hello\"").await), "hello\n");
        assert_eq!(sh("\"echo oops >&2; exit 3\"").await, Ended::Failed("exit status 3: oops".to_owned()));
        assert_eq!(sh("\"kill -9 $$\"").await, Ended::Failed("ended by signal 9".to_owned()));
    }

    #[tokio::test]
    async fn the_command_knows_its_job() {
        let line = "\"echo $WINDLASS_JOB_ID $WINDLASS_QUEUE $WINDLASS_ATTEMPT $WINDLASS_TOKEN\"";
        assert_eq!(text(sh(line).await), "id default 2 1-3\n");
        assert_eq!(
            text(sh("{\"command\":\"pwd; echo $A\",\"dir\":\"/\",\"env\":{\"A\":\"b\"}}").await),
            "/\nb\n"
        );
    }

    #[tokio::test]
    async fn a_payload_that_is_no_command_is_refused_for_good() {
        assert!(matches!(sh("[1]").await, Ended::Refused(_)));
        assert!(matches!(sh("\"pwd\\").await, Ended::Refused(_)));
    }

    #[tokio::test]
    async fn output_is_cut_and_says_so() {
        let got = text(sh("\"head -c 2000000 /dev/zero | tr '\\\\0' a\"").await);
        let cut = 2_000_000 - STDOUT_BYTES_MAX;
        assert!(got.ends_with(&format!("… ({cut} more bytes left out)")), "{}", &got[got.len() - 60..]);
    }

    /// The children of a stopped command end with it: the group's file is not touched any more.
    #[tokio::test]
    async fn stopping_ends_the_whole_group() {
        let dir = tempfile::tempdir().expect("directory");
        let fifo = dir.path().join("alive");
        let line = format!("mkfifo {0}; (exec 3>{0}; sleep 600) & cat {0}; wait", fifo.display());
        let context = Context { id: "id".into(), queue: "q".into(), attempt: 1, token: "t".into() };
        let payload = Payload::json(serde_json::to_vec(&line).expect("text"));
        let write_end = |fifo: &std::path::Path| {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            rustix::fs::open(fifo, flags, rustix::fs::Mode::empty())
        };
        let mut held = None;
        let begun = async {
            // Somebody reads: the command has come that far. Holding this end keeps the reader reading.
            while held.is_none() {
                held = write_end(&fifo).ok();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = run(&payload, &context, begun).await;
        assert_eq!(ended, Ended::Stopped);
        drop(held);
        let mut opened = write_end(&fifo);
        // A killed process is gone a moment after its signal; on a busy machine a long one.
        for _ in 0..1_000 {
            if opened.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            opened = write_end(&fifo);
        }
        assert_eq!(
            opened.err(),
            Some(rustix::io::Errno::NXIO),
            "no process of the group reads the FIFO any more"
        );
    }
}
