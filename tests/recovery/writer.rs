//! The writer: a process of its own, so that it can be killed, and the model of what it must leave behind.
//!
//! Batch `n` puts job `n` and a mark that says `n`, and removes older jobs: most of them after a while, each tenth much later,
//! as a queue leaves a few that fail. So the mark alone tells what the whole store must hold.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use windlass_core::store::{Batch, Store, Write};
use windlass_scheduler::store::{StoreConfig, open};

/// Where the writer's store is.
const DIR: &str = "WINDLASS_TEST_WRITER_DIR";
/// Size of its payloads.
const PAYLOAD: &str = "WINDLASS_TEST_WRITER_PAYLOAD";
const MARK: &[u8] = b"mark";

/// What the writer writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of a payload.
    pub(crate) payload: usize,
}

impl Plan {
    /// Jobs that are alive before they are done.
    fn window(self) -> u64 {
        (400_000 / self.payload as u64).clamp(8, 1_000)
    }

    /// Jobs after which a failed one is removed too.
    fn lag(self) -> u64 {
        20 * self.window()
    }

    fn is_alive(self, job: u64, mark: u64) -> bool {
        job + self.window() > mark || (job.is_multiple_of(10) && job + self.lag() > mark)
    }

    fn value(self, job: u64) -> Bytes {
        let mut value = Vec::with_capacity(self.payload + 8);
        let mut word = job.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while value.len() < self.payload {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            value.extend_from_slice(&word.to_le_bytes());
        }
        value.truncate(self.payload);
        value.into()
    }

    /// Small enough that checkpoints and rotations are under way at any moment.
    pub(crate) fn config(self, dir: &Path) -> StoreConfig {
        StoreConfig {
            segment_bytes: Some((4 * self.payload as u64).next_multiple_of(1 << 20).max(2 << 20)),
            overlay_bytes: (3 * self.payload).max(200_000),
            block_bytes: Some(8 * 1024),
            low_water_bytes: Some(0),
            rewrite_bytes_min: 8 << 20,
            ..StoreConfig::sled(dir)
        }
    }

    fn batch(self, job: u64) -> Batch {
        let mut writes = vec![
            Write::Put { key: key(job), value: self.value(job) },
            Write::Put { key: Bytes::from_static(MARK), value: Bytes::copy_from_slice(&job.to_be_bytes()) },
        ];
        for gone in [job.checked_sub(self.window()), job.checked_sub(self.lag())].into_iter().flatten() {
            if !self.is_alive(gone, job) {
                writes.push(Write::Delete { key: key(gone) });
            }
        }
        Batch { writes, ..Batch::default() }
    }

    /// The mark of a store, after all that it says has been found to be there, and nothing else.
    pub(crate) fn check(self, store: &dyn Store) -> u64 {
        let mark = store.get(MARK).expect("the store can be read");
        let mark =
            mark.map_or(0, |value| u64::from_be_bytes(value[..].try_into().expect("a mark has eight bytes")));
        let first = mark.saturating_sub(self.lag()).max(1);
        let mut expected = (first..=mark).filter(|job| self.is_alive(*job, mark));
        let each = &mut |found: &[u8], value: Bytes| {
            let job = expected.next().expect("no job is there that should be gone");
            assert_eq!(found, &key(job)[..], "the job at this place, mark {mark}");
            assert!(value == self.value(job), "job {job} has another payload than it was given");
            true
        };
        store.scan(b"j", b"k", each).expect("the store can be read");
        assert_eq!(expected.next(), None, "jobs are missing at the end, mark {mark}");
        mark
    }
}

fn key(job: u64) -> Bytes {
    [b"j", &job.to_be_bytes()[..]].concat().into()
}

/// The writer's process.
pub(crate) struct Writer {
    child: Child,
    acks: Receiver<u64>,
}

impl Writer {
    /// Starts a writer in `dir`: this very program, told to run [`the_writer_process`] alone.
    pub(crate) fn start(dir: &Path, plan: Plan) -> Writer {
        let program = std::env::current_exe().expect("a test knows its own program");
        let mut child = Command::new(program)
            .args(["--exact", "writer::the_writer_process", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(PAYLOAD, plan.payload.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a test can start its own program");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        /// Acks on their way; the writer waits when nobody reads them.
        const WAITING_MAX: usize = 1 << 20;
        let (tell, acks) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let number = line.strip_prefix("acked ").and_then(|number| number.parse().ok());
                if number.is_some_and(|number| tell.send(number).is_err()) {
                    break;
                }
            }
        });
        Writer { child, acks }
    }

    /// Waits for the first confirmed batch.
    pub(crate) fn first_ack(&self) -> u64 {
        self.acks.recv().expect("the writer opens the store and writes")
    }

    /// Kills the process and says what it has confirmed last.
    pub(crate) fn kill(mut self) -> Option<u64> {
        self.end();
        self.acks.iter().last()
    }

    fn end(&mut self) {
        self.child.kill().expect("the writer can be killed");
        self.child.wait().expect("the writer is ours");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes until it is killed, and says what is durable.
#[test]
#[ignore = "it is the process that other tests kill"]
fn the_writer_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let payload = std::env::var(PAYLOAD).ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(200);
    let plan = Plan { payload };
    let store = open(&plan.config(Path::new(&dir))).unwrap();
    let mut job = plan.check(store.as_ref());
    let mut out = std::io::stdout();
    // A line of its own: the harness does not end the one it has begun.
    writeln!(out).unwrap();
    for round in 0_u64.. {
        let group = 1 + round * 7 % 32;
        let batches = (job + 1..=job + group).map(|job| plan.batch(job)).collect();
        for result in store.commit(batches) {
            if let Err(error) = result {
                // What a power cut looks like from inside.
                eprintln!("the writer stops: {error}");
                return;
            }
            job += 1;
        }
        writeln!(out, "acked {job}").unwrap();
    }
}
