//! The hot paths of the core, so many jobs of each: `hot PATH JOBS`. `tests/budget/check` runs it under callgrind with two numbers of
//! jobs; the difference is what a job takes, whatever the machine and whatever else it does.

use std::process::ExitCode;

use bytes::BytesMut;
use windlass_core::api::Request;
use windlass_core::id::{JobId, QueueName, RequestId, WorkerId};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::limits;
use windlass_core::queue::{ChunkShape, Command, Dispatch, Effects, NewJobs, Out, Queue, Tuning, Window};
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_core::wire::{ClientFrame, Token, Verdict, decode_exact, encode_frame, next_frame};

/// Jobs of one request, of one hand-out, of one report.
const BATCH: u64 = 500;
const START: Now = Now { wall: Timestamp(1_767_614_400_000), mono: Mono(0) };

/// So many jobs through a path.
type Path = (&'static str, fn(u64));

/// The paths, by name.
const PATHS: [Path; 5] = [
    ("enqueue_bulk", enqueue_bulk),
    ("enqueue_single", enqueue_single),
    ("life", life),
    ("delayed", delayed),
    ("wire", wire),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = PATHS.iter().find(|(name, _)| args.first().is_some_and(|wanted| wanted == name));
    match (path, args.get(1).and_then(|jobs| jobs.parse().ok())) {
        (Some((_, run)), Some(jobs)) => {
            run(jobs);
            ExitCode::SUCCESS
        }
        _ => {
            for (name, _) in PATHS {
                println!("{name}");
            }
            ExitCode::from(2)
        }
    }
}

/// A queue of which every batch is durable at once.
struct Hot {
    queue: Queue,
    now: Now,
    jobs: u64,
}

impl Hot {
    fn new() -> Hot {
        let tuning = Tuning {
            epoch: 1,
            seed: 7,
            lease_ms: limits::LEASE_MS_DEFAULT,
            resume_grace_ms: limits::RESUME_GRACE_MS_DEFAULT,
            window: Window { jobs: usize::MAX / 2, bytes: usize::MAX / 2, load: 1 },
            chunk: ChunkShape::default(),
            dispatch: Dispatch::Fast,
        };
        let (queue, effects) = Queue::create(QueueName::default(), 1, tuning, START);
        let mut hot = Hot { queue, now: START, jobs: 0 };
        hot.settle(effects);
        hot
    }

    fn apply(&mut self, command: Command) -> Vec<Out> {
        let effects = self.queue.apply(self.now, command).expect("the commands are right");
        self.settle(effects)
    }

    fn settle(&mut self, effects: Effects) -> Vec<Out> {
        if let Some(ticket) = effects.ticket {
            self.queue.apply(self.now, Command::Durable(ticket)).expect("it is always right");
        }
        effects.outs.into_iter().map(|(_, out)| out).collect()
    }

    fn enqueue(&mut self, count: u64, run_at: RunAt) {
        let jobs = (0..count).map(|n| spec(self.jobs + n, run_at)).collect();
        self.jobs += count;
        let new = NewJobs { jobs, known: Vec::new(), alongside: Vec::new() };
        self.apply(Command::Enqueue { reply: RequestId(self.jobs), new });
    }

    fn run_some(&mut self) -> u64 {
        let worker = WorkerId([3; 16]);
        let outs = self.apply(Command::Fetch { worker, slots: BATCH as u32 });
        let handed: Vec<(JobId, Token, Verdict)> = outs
            .into_iter()
            .filter_map(|out| match out {
                Out::Deliver { jobs, .. } => Some(jobs),
                _ => None,
            })
            .flatten()
            .map(|(job, token, _)| (job.id, token, Verdict::Done(None)))
            .collect();
        let count = handed.len() as u64;
        self.apply(Command::Report { reply: RequestId(0), outcomes: handed });
        count
    }
}

fn spec(number: u64, run_at: RunAt) -> JobSpec {
    let mut spec = JobSpec::new("send_email", Payload::json(vec![b'1'; 100]));
    spec.id = Some(JobId::v7(START.wall, u128::from(number) << 32));
    spec.run_at = run_at;
    spec
}

fn enqueue_bulk(jobs: u64) {
    let mut hot = Hot::new();
    (0..jobs / BATCH).for_each(|_| hot.enqueue(BATCH, RunAt::Now));
}

fn enqueue_single(jobs: u64) {
    let mut hot = Hot::new();
    (0..jobs).for_each(|_| hot.enqueue(1, RunAt::Now));
}

/// Enqueued, handed out, done.
fn life(jobs: u64) {
    let mut hot = Hot::new();
    for _ in 0..jobs / BATCH {
        hot.enqueue(BATCH, RunAt::Now);
        assert_eq!(hot.run_some(), BATCH, "all that is ready is handed out");
    }
}

/// The same for jobs that wait a second first.
fn delayed(jobs: u64) {
    let mut hot = Hot::new();
    for _ in 0..jobs / BATCH {
        hot.enqueue(BATCH, RunAt::AfterMs(1_000));
        hot.now.wall = hot.now.wall.plus_ms(1_000);
        hot.apply(Command::Tick);
        assert_eq!(hot.run_some(), BATCH, "all that is due is handed out");
    }
}

/// A request through the codec and back.
fn wire(jobs: u64) {
    for batch in 0..jobs / BATCH {
        let jobs = (0..BATCH).map(|n| spec(batch * BATCH + n, RunAt::Now)).collect();
        let body = Request::Enqueue { queue: QueueName::default(), jobs };
        let mut out = BytesMut::new();
        encode_frame(&mut out, &ClientFrame::Call { request: batch, body });
        let frame = next_frame(&mut out, limits::FRAME_BYTES_MAX).expect("it fits").expect("it is whole");
        let back: ClientFrame = decode_exact(&frame).expect("what was encoded is decoded");
        assert!(matches!(back, ClientFrame::Call { .. }), "another frame came back");
    }
}
