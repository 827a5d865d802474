//! What a seed's world is made of.

use windlass_core::queue::{Dispatch, Window};

use crate::fault::Size;
use crate::rng::Rng;
use crate::worker::Habits;

/// A schedule of the world.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// Queue of its jobs.
    pub queue: usize,
    /// An interval, or
    pub every_ms: Option<u64>,
    /// a cron expression, in
    pub cron: &'static str,
    /// this zone.
    pub zone: &'static str,
    /// Whether missed times are left out.
    pub skip: bool,
    /// Whether the operator pauses and resumes it.
    pub steered: bool,
}

/// What a seed's world is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Queues on the one store.
    pub queues: usize,
    /// Workers.
    pub workers: usize,
    /// Producers.
    pub producers: usize,
    /// Jobs of all producers.
    pub jobs: u64,
    /// How long faults happen.
    pub faults_ms: u64,
    /// How long a lease is good.
    pub lease_ms: u64,
    /// How long a lost session may come back.
    pub grace_ms: u64,
    /// Interval of heartbeats.
    pub beat_ms: u64,
    /// About how long a producer waits between calls.
    pub produce_ms: u64,
    /// About how long the operator waits between calls; 0: there is none.
    pub operate_ms: u64,
    /// Whether jobs have different priorities.
    pub priorities: bool,
    /// The queues' windows.
    pub window: Window,
    /// When jobs leave for their worker.
    pub dispatch: Dispatch,
    /// The schedules.
    pub schedules: Vec<Scheduled>,
    /// What each worker does.
    pub habits: Vec<Habits>,
}

impl Setup {
    /// Draws the world of a seed. One in fifty is a long one.
    #[must_use]
    pub fn draw(seed: u64) -> Setup {
        let rng = &mut Rng::new(seed, 6);
        let long = rng.chance(20);
        let queues = rng.pick(&[1, 1, 2, 3]);
        let workers = rng.between(1, 3) as usize;
        let producers = rng.between(1, 2) as usize;
        let faults_ms = if long { rng.between(30_000, 90_000) } else { rng.between(3_000, 9_000) };
        let jobs = if long { rng.between(60, 250) } else { rng.between(4, 24) };
        let lease_ms = rng.pick(&[1_200, 2_400, 4_000]);
        let window = match rng.below(4) {
            0 => Window::default(),
            1 => Window { jobs: 2, bytes: 1 << 20, load: 1 },
            2 => Window { jobs: 4, bytes: 1 << 20, load: 2 },
            _ => Window { jobs: 8, bytes: 1_500, load: 4 },
        };
        let burst = rng.chance(300);
        Setup {
            queues,
            workers,
            producers,
            jobs,
            faults_ms,
            lease_ms,
            grace_ms: rng.pick(&[300, 800, 1_200]),
            beat_ms: lease_ms / 4,
            produce_ms: if burst { 1 } else { (faults_ms * producers as u64 / (jobs + 1)).max(1) },
            operate_ms: if rng.chance(700) { rng.pick(&[100, 400, 1_000]) } else { 0 },
            priorities: rng.chance(500),
            window,
            // From a source of its own, so that older seeds keep their worlds.
            dispatch: if Rng::new(seed, 16).chance(333) { Dispatch::Safe } else { Dispatch::Fast },
            schedules: (0..rng.pick(&[0, 0, 1, 2])).map(|_| scheduled(rng, queues)).collect(),
            habits: (0..workers).map(|_| habits(rng, queues)).collect(),
        }
    }

    /// For drawing faults.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            workers: self.workers,
            clients: self.workers + self.producers + 1,
            faults_ms: self.faults_ms,
            lease_ms: self.lease_ms,
        }
    }
}

fn scheduled(rng: &mut Rng, queues: usize) -> Scheduled {
    Scheduled {
        queue: rng.below(queues as u64) as usize,
        every_ms: rng.chance(600).then(|| rng.between(1_000, 4_000)),
        cron: rng.pick(&["*/2 * * * * *", "* * * * *", "*/3 * * * * *"]),
        zone: rng.pick(&["UTC", "Europe/Berlin", "America/New_York"]),
        skip: rng.chance(400),
        steered: rng.chance(300),
    }
}

fn habits(rng: &mut Rng, queues: usize) -> Habits {
    // The first worker of a world takes from all queues, in `Setup::draw`'s order; every queue has a taker that way.
    let all: Vec<usize> = (0..queues).collect();
    Habits {
        slots: rng.pick(&[1, 1, 2, 5]),
        queues: all,
        strict: rng.chance(500),
        run_ms: rng.pick(&[50, 400, 3_000]),
        fails: rng.pick(&[0, 100, 500]),
        poison: rng.pick(&[0, 0, 0, 60]),
        stubborn: rng.chance(400),
        twice: rng.pick(&[0, 0, 200]),
    }
}
