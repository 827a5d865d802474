//! `windlass job enqueue --batch`: a file of any length in bounded memory.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use windlass_core::api::{Request, Response};
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;
use windlass_core::limits;

use super::enqueue::Summary;
use super::line;
use crate::cli::connect::{ClientArgs, Server, unexpected};
use crate::cli::error::CliError;
use crate::cli::output::{self, Output};

/// Jobs in one request.
const CHUNK_JOBS: usize = 1_000;
/// Payload bytes in one request, so that the frame stays far below its limit.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Requests on their way at a time.
const IN_FLIGHT: usize = 8;
/// Longest line: a payload of the largest size, escaped, with its options around it.
const LINE_BYTES_MAX: usize = 2 * limits::PAYLOAD_BYTES_MAX;
/// Different queues that may have a begun request each.
const OPEN_QUEUES_MAX: usize = 64;

/// What a line without a key gets.
pub(super) struct Defaults {
    /// Kind named on the command line.
    pub(super) kind: Option<String>,
    /// Queue named on the command line.
    pub(super) queue: QueueName,
    /// Everything else.
    pub(super) spec: JobSpec,
}

/// Runs a batch from a file or stdin.
pub(super) async fn run(
    path: &Path,
    defaults: &Defaults,
    client: &ClientArgs,
    out: Output,
) -> Result<(), CliError> {
    let (source, size): (Box<dyn AsyncRead + Unpin>, Option<u64>) = if path == Path::new("-") {
        (Box::new(tokio::io::stdin()), None)
    } else {
        let open = tokio::fs::File::open(path).await;
        let file = open.map_err(|e| {
            CliError::usage(format!("--batch {}: {e}; name a file that can be read", path.display()))
        })?;
        let size = file.metadata().await.map(|m| m.len()).ok().filter(|n| *n > 0);
        (Box::new(file), size)
    };
    let server = Server::connect(client).await?;
    let progress = bar(size, out);
    let mut sender = Sender {
        server,
        open: BTreeMap::new(),
        flying: FuturesUnordered::new(),
        summary: Summary::default(),
    };
    let sent = stream(source, defaults, &mut sender, &progress).await;
    progress.finish_and_clear();
    let name = path.display();
    if let Err(error) = sent {
        // What was confirmed stays; whoever repeats the file should know how far it came.
        let done = output::count(sender.summary.enqueued);
        return Err(error.about(format!("--batch {name}: {done} jobs are enqueued")));
    }
    if out.json {
        return out.json_value(&sender.summary);
    }
    let Summary { enqueued, duplicates } = sender.summary;
    let known = if duplicates > 0 {
        format!(", {} were known already", output::count(duplicates))
    } else {
        String::new()
    };
    out.line(format!("{} jobs enqueued{known}", output::count(enqueued)))
}

fn bar(size: Option<u64>, out: Output) -> ProgressBar {
    let target = if out.chatty { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(size, target);
    let template = match size {
        Some(_) => "{bar:30} {bytes}/{total_bytes}  {msg}  eta {eta}",
        None => "{spinner} {bytes}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

async fn stream(
    source: impl AsyncRead + Unpin,
    defaults: &Defaults,
    sender: &mut Sender,
    progress: &ProgressBar,
) -> Result<(), CliError> {
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let mut text = Vec::new();
    for number in 1u64.. {
        text.clear();
        if !read_line(&mut reader, &mut text)
            .await
            .map_err(|why| CliError::usage(format!("line {number}: {why}")))?
        {
            break;
        }
        progress.inc(text.len() as u64);
        let line =
            std::str::from_utf8(&text).map_err(|_| CliError::usage(format!("line {number}: not UTF-8")))?;
        if line.trim().is_empty() {
            continue;
        }
        let (queue, spec) =
            line::parse(line, defaults).map_err(|why| CliError::usage(format!("line {number}: {why}")))?;
        sender.add(queue, spec).await?;
        progress.set_message(format!("{} jobs", output::count(sender.summary.enqueued)));
    }
    sender.finish().await
}

/// Reads one line of bounded length; `false` at the end.
async fn read_line(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> Result<bool, String> {
    loop {
        let buffered = reader.fill_buf().await.map_err(|e| e.to_string())?;
        if buffered.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(buffered.len(), |at| at + 1);
        line.extend_from_slice(&buffered[..take]);
        reader.consume(take);
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("longer than {}; is the file NDJSON?", output::bytes(LINE_BYTES_MAX as u64)));
        }
        if end.is_some() {
            return Ok(true);
        }
    }
}

type Flight = std::pin::Pin<Box<dyn Future<Output = Result<Response, CliError>>>>;

/// Collects jobs by queue and keeps a few requests in flight.
struct Sender {
    server: Server,
    open: BTreeMap<QueueName, (Vec<JobSpec>, usize)>,
    flying: FuturesUnordered<Flight>,
    summary: Summary,
}

impl Sender {
    async fn add(&mut self, queue: QueueName, spec: JobSpec) -> Result<(), CliError> {
        let (jobs, bytes) = self.open.entry(queue.clone()).or_default();
        *bytes += spec.payload.data.len() + spec.kind.len() + 64;
        jobs.push(spec);
        if jobs.len() >= CHUNK_JOBS || *bytes >= CHUNK_BYTES {
            self.launch(&queue).await?;
        } else if self.open.len() > OPEN_QUEUES_MAX {
            let fullest =
                self.open.iter().max_by_key(|(_, (jobs, _))| jobs.len()).map(|(name, _)| name.clone());
            self.launch(&fullest.unwrap_or(queue)).await?;
        }
        Ok(())
    }

    async fn launch(&mut self, queue: &QueueName) -> Result<(), CliError> {
        let Some((jobs, _)) = self.open.remove(queue) else { return Ok(()) };
        while self.flying.len() >= IN_FLIGHT {
            self.land().await?;
        }
        let server = self.server.clone();
        let request = Request::Enqueue { queue: queue.clone(), jobs };
        self.flying.push(Box::pin(async move { server.call_patiently(request).await }));
        // Requests fly while the next lines are read only if they are polled once now.
        if let Some(landed) = futures_util::FutureExt::now_or_never(self.flying.next()).flatten() {
            self.count(landed?)?;
        }
        Ok(())
    }

    async fn land(&mut self) -> Result<(), CliError> {
        match self.flying.next().await {
            Some(landed) => self.count(landed?),
            None => Ok(()),
        }
    }

    fn count(&mut self, response: Response) -> Result<(), CliError> {
        let Response::Enqueued(entries) = response else { return Err(unexpected(&response)) };
        let known = entries.iter().filter(|entry| entry.duplicate).count() as u64;
        self.summary.duplicates += known;
        self.summary.enqueued += entries.len() as u64 - known;
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), CliError> {
        while let Some(queue) = self.open.keys().next().cloned() {
            self.launch(&queue).await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        Ok(())
    }
}
