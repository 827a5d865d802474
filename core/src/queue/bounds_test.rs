//! What waits is held in memory within its bounds, however large the jobs are; loads come to an end, and all jobs come out.

use super::*;
use crate::id::{JobId, QueueName, RequestId, WorkerId};
use crate::job::{Chunk, Holes, Job, JobSpec, Payload, RunAt};
use crate::limits;
use crate::store::keys::{ChunkKey, Row, queue_range};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Store, Write};
use crate::time::{Mono, Now, Timestamp};

const NO: u32 = 1;
const ANN: WorkerId = WorkerId([1; 16]);
/// More in a row are taken for a queue that loads for ever.
const LOADS_MAX: usize = 200;

/// A queue over a store, every batch of which is durable at once.
struct Rig {
    queue: Queue,
    store: MemoryStore,
    now: Now,
    window: Window,
    delivered: Vec<u64>,
}

fn tuning(window: Window) -> Tuning {
    Tuning {
        epoch: 1,
        seed: 1,
        lease_ms: 600_000,
        resume_grace_ms: 600_000,
        window,
        chunk: ChunkShape::default(),
        dispatch: Dispatch::Fast,
    }
}

fn id(number: u64) -> JobId {
    JobId::v7(Timestamp(1_000), u128::from(number))
}

impl Rig {
    fn new(window: Window) -> Rig {
        let now = Now { wall: Timestamp(1_000), mono: Mono(0) };
        let (queue, effects) = Queue::create(QueueName::default(), NO, tuning(window), now);
        let mut rig = Rig { queue, store: MemoryStore::new(), now, window, delivered: Vec::new() };
        rig.take(effects);
        rig
    }

    fn apply(&mut self, command: Command) {
        let effects = self.queue.apply(self.now, command).unwrap();
        self.take(effects);
    }

    /// Carries out what the queue asks for, until it asks for nothing more.
    fn take(&mut self, effects: Effects) {
        let mut todo = vec![effects];
        let mut loads = 0;
        while let Some(effects) = todo.pop() {
            let batch = Batch { writes: effects.writes, ..Batch::default() };
            self.store.commit(vec![batch]).into_iter().for_each(|done| done.unwrap());
            let mut next = Vec::from_iter(effects.ticket.map(Command::Durable));
            for (_, out) in effects.outs {
                match out {
                    Out::Load(from) => {
                        loads += 1;
                        assert!(loads < LOADS_MAX, "it loads for ever: {from:?}");
                        let found = read::load(&self.store, NO, from).unwrap();
                        next.push(Command::Loaded { from, found: found.stored, exhausted: found.exhausted });
                    }
                    Out::Deliver { jobs, .. } => {
                        let number = |job: &Job| u128::from_be_bytes(job.id.0) as u64 & 0xffff;
                        self.delivered.extend(jobs.iter().map(|(job, ..)| number(job)));
                    }
                    Out::Fault(text) => panic!("{text}"),
                    _ => {}
                }
            }
            todo.extend(next.into_iter().map(|command| self.queue.apply(self.now, command).unwrap()));
            // A load and what is there already may be in memory at the same time.
            let (held, window) = self.queue.held();
            let largest = window.bytes.max(limits::LOAD_BYTES_MAX) + limits::LOAD_BYTES_MAX;
            assert!(held <= largest, "{held} bytes are held, {} are allowed", window.bytes);
        }
    }

    fn enqueue(
        &mut self,
        numbers: std::ops::Range<u64>,
        payload_bytes: usize,
        run_at: impl Fn(u64) -> RunAt,
    ) {
        let payload = Payload::json(vec![b'1'; payload_bytes]);
        let jobs = numbers.map(|number| {
            let mut spec = JobSpec::new("work", payload.clone());
            (spec.id, spec.run_at) = (Some(id(number)), run_at(number));
            spec
        });
        let new = NewJobs { jobs: jobs.collect(), known: Vec::new(), alongside: Vec::new() };
        self.apply(Command::Enqueue { reply: RequestId(1), new });
    }

    /// Carries out a command that asks for a load, which is the caller's.
    fn without_its_load(&mut self, command: Command) -> LoadFrom {
        let mut effects = self.queue.apply(self.now, command).unwrap();
        let load = effects.outs.iter().position(|(_, out)| matches!(out, Out::Load(_)));
        let Out::Load(from) = effects.outs.remove(load.unwrap()).1 else { unreachable!("it was looked for") };
        self.take(effects);
        from
    }

    /// As after a start, with everything at rest.
    fn restart(&mut self) {
        let effects = self.recover();
        self.take(effects);
    }

    fn recover(&mut self) -> Effects {
        let record = self.store.get(&crate::store::keys::queue_key(self.queue.name())).unwrap().unwrap();
        let record = QueueRecord::from_bytes(&record).unwrap();
        let (name, tuning) = (self.queue.name().clone(), tuning(self.window));
        let (queue, effects) = read::recover(&self.store, name, record, tuning, self.now).unwrap();
        self.queue = queue;
        effects
    }

    fn fetch(&mut self, slots: u32) {
        self.apply(Command::Fetch { worker: ANN, slots });
    }
}

#[test]
fn large_jobs_are_loaded_by_their_bytes() {
    let mut rig = Rig::new(Window::default());
    for request in 0..30 {
        rig.enqueue(request * 100..(request + 1) * 100, 16 * 1024, |_| RunAt::Now);
    }
    rig.restart();
    (0..300).for_each(|_| rig.fetch(10));
    assert!(rig.delivered.iter().copied().eq(0..3_000), "in order, all of them");
}

#[test]
fn large_timers_do_not_come_and_go_for_ever() {
    let mut rig = Rig::new(Window::default());
    for request in 0..50 {
        let spread = |number| RunAt::AfterMs(60_000 + number / 7);
        let together = |_| RunAt::AfterMs(61_000);
        let numbers = request * 100..(request + 1) * 100;
        if request % 2 == 0 {
            rig.enqueue(numbers, 8 * 1024, spread);
        } else {
            rig.enqueue(numbers, 8 * 1024, together);
        }
    }
    rig.restart();
    rig.now.wall = Timestamp(100_000);
    rig.apply(Command::Tick);
    (0..500).for_each(|_| rig.fetch(10));
    rig.delivered.sort_unstable();
    assert!(rig.delivered.iter().copied().eq(0..5_000), "all of them");
}

#[test]
fn a_timer_that_is_larger_than_the_window_comes_due() {
    let mut rig = Rig::new(Window { jobs: 64, bytes: 1_024, load: 32 });
    rig.enqueue(0..3, 64 * 1024, |number| RunAt::AfterMs(500 - number));
    rig.restart();
    rig.now.wall = Timestamp(2_000);
    rig.apply(Command::Tick);
    (0..3).for_each(|_| rig.fetch(1));
    assert_eq!(rig.delivered, [2, 1, 0]);
}

/// Both windows are read at the same time, and the ready one may be there first.
#[test]
fn a_job_that_came_due_before_the_start_goes_before_lower_ones() {
    let mut rig = Rig::new(Window::default());
    rig.enqueue(0..20, 10, |_| RunAt::Now);
    let mut urgent = JobSpec::new("work", Payload::json("1"));
    (urgent.id, urgent.run_at, urgent.priority) = (Some(id(20)), RunAt::AfterMs(500), 9);
    let new = NewJobs { jobs: vec![urgent], known: Vec::new(), alongside: Vec::new() };
    rig.apply(Command::Enqueue { reply: RequestId(1), new });
    rig.now.wall = Timestamp(2_000);
    let effects = rig.recover();
    let loads = |out: &(Release, Out)| if let Out::Load(from) = out.1 { Some(from) } else { None };
    let mut loads = effects.outs.iter().filter_map(loads).collect::<Vec<_>>();
    rig.take(Effects { outs: Vec::new(), ..effects });
    loads.sort_by_key(|from| matches!(from, LoadFrom::Timers { .. }));
    assert!(matches!(loads[..], [LoadFrom::Ready { .. }, LoadFrom::Timers { .. }]), "{loads:?}");
    for from in loads {
        rig.fetch(1);
        assert!(rig.delivered.is_empty());
        let found = read::load(&rig.store, NO, from).unwrap();
        rig.apply(Command::Loaded { from, found: found.stored, exhausted: found.exhausted });
    }
    (0..3).for_each(|_| rig.fetch(1));
    assert_eq!(rig.delivered, [20, 0, 1]);
}

#[test]
fn a_load_misses_nothing_of_what_went_to_rest_behind_it() {
    let mut rig = Rig::new(Window { jobs: 32, load: 16, ..Window::default() });
    rig.enqueue(0..56, 10, |_| RunAt::Now);
    // The load after the first is asked for when all is durable, so that it has to account for every job.
    let first = rig.without_its_load(Command::Fetch { worker: ANN, slots: 32 });
    let found = read::load(&rig.store, NO, first).unwrap();
    let second = rig.without_its_load(Command::Loaded { from: first, found: found.stored, exhausted: false });
    let found = read::load(&rig.store, NO, second).unwrap();
    assert!(found.exhausted && found.stored.len() == 8, "the end of the chunk");
    rig.enqueue(56..96, 10, |_| RunAt::Now);
    rig.apply(Command::Loaded { from: second, found: found.stored, exhausted: true });
    (0..7).for_each(|_| rig.fetch(10));
    assert!(rig.delivered.iter().copied().eq(0..96), "in order, all of them");
}

/// One job at the head of a chunk that still runs must not hide what stands behind those that have gone.
#[test]
fn a_scan_steps_over_what_has_left_its_chunk() {
    for row in [Row::Ready { priority: 0 }, Row::Timer { run_at: Timestamp(7) }] {
        let store = MemoryStore::new();
        let key = |first| ChunkKey { row, first };
        let job = |number| Job {
            id: id(number),
            kind: "work".to_owned(),
            payload: Payload::json("1"),
            priority: 0,
            enqueued_at: Timestamp(7),
            run_at: Timestamp(7),
            options: None,
            past: None,
        };
        let chunk = |first| Chunk::encode((first..first + 10).map(job).collect::<Vec<_>>().iter());
        let mut holes = Holes::default();
        assert!((1..10).all(|index| holes.add(index)));
        let mut writes = vec![Write::Put { key: key(1).holes_key(NO), value: holes.encode() }];
        writes.extend([1, 11].map(|first| Write::Put { key: key(first).key(NO), value: chunk(first) }));
        store.commit(vec![Batch { writes, ..Batch::default() }]).into_iter().for_each(|done| done.unwrap());
        let region = row.place(0).region();
        let (first, end) = queue_range(region, NO);
        let scan = |from: &[u8], limit| {
            let found = read::scan(&store, from, &end, limit).unwrap();
            (found.stored.iter().map(|stored| stored.job.id).collect::<Vec<_>>(), found.exhausted)
        };
        assert_eq!(scan(&first, 4), (vec![id(1)], false));
        for limit in 1..=9 {
            let behind = row.place(2).key(NO);
            assert_eq!(scan(&behind, limit), ((11..11 + limit as u64).map(id).collect(), false));
        }
        assert_eq!(scan(&row.place(11).key(NO), 11), ((11..21).map(id).collect(), true));
        // Nothing is read for a range that ends before it begins.
        assert_eq!(scan(&[region + 1], 4), (vec![], true));
    }
}
