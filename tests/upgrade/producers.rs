//! Producers of both versions: clients of this one that stay, and the older command line, once for each job.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use rand::RngExt as _;
use tokio::task::JoinHandle;
use windlass_tests::history::{Event, Kind, Recorder, Verb};
use windlass_tests::producer::Producer;
use windlass_tests::script::{KIND, Work};

use crate::QUEUES;
use crate::nodes::Version;

/// Wait between two jobs of a client that stays.
const PACE: Duration = Duration::from_millis(10);

/// Tasks that enqueue until they are stopped.
pub(crate) struct Producers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

/// One job in fifty runs for seconds, so that some are always under way when a node goes.
fn work() -> Work {
    let mut rng = rand::rng();
    let ms =
        if rng.random_range(0..50) == 0 { rng.random_range(1_000..4_000) } else { rng.random_range(0..20) };
    Work::plain(QUEUES[rng.random_range(0..QUEUES.len())]).script(ms, "d")
}

impl Producers {
    /// Starts two clients with all addresses and one for each address alone, and the command line of `old`.
    pub(crate) async fn start(old: &Version, addresses: &[String], recorder: &Recorder) -> Result<Producers> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        let all = addresses.join(",");
        for (number, servers) in addresses.iter().chain([&all, &all]).enumerate() {
            let producer =
                Producer::connect(servers.clone(), recorder.named(&format!("new-client-{number}"))?).await?;
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // What became of it is in the history.
                    let _ = producer.enqueue(&work()).await;
                    tokio::time::sleep(PACE).await;
                }
            }));
        }
        let (old, recorder, stopped) = (old.clone(), recorder.named("old-client")?, Arc::clone(&stop));
        tasks.push(tokio::task::spawn_blocking(move || {
            while !stopped.load(Ordering::Relaxed) {
                enqueue(&old, &all, &recorder);
            }
        }));
        Ok(Producers { stop, tasks })
    }

    /// Ends them, when each has its last answer.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(())
    }
}

/// Enqueues one job with the command line and records it. An end with an error may have enqueued it all the same.
fn enqueue(version: &Version, servers: &str, recorder: &Recorder) {
    let work = work();
    let op = recorder.next_op();
    let begun = recorder.event(Verb::Enqueue, Kind::Invoke).job(work.id);
    let (queue, max_attempts) = (Some(work.queue.clone()), Some(work.max_attempts));
    recorder.record(&Event { op: Some(op), queue, max_attempts, ..begun });
    let payload = serde_json::to_string(&work.script).expect("a script is plain data");
    let mut command = Command::new(version.program("windlass"));
    command.args(["job", "enqueue", KIND, "--queue", &work.queue, "--id", &work.id.to_string()]);
    command.args(["--payload", &payload, "--server", servers]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let kind = if status.is_ok_and(|status| status.success()) { Kind::Ok } else { Kind::Info };
    recorder.record(&Event { op: Some(op), ..recorder.event(Verb::Enqueue, kind).job(work.id) });
}
