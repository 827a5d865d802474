//! What goes wrong, drawn from the seed as a list of single faults, so that the list can be shortened.
//!
//! Swarm style (Groce et al. 2012): every seed draws which kinds of fault it has at all and how often; some have none. A
//! fault that one kind would drown is found by the seeds that lack that kind.

use crate::rng::Rng;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When, in milliseconds of true time.
    pub at: u64,
    /// What.
    pub what: What,
}

/// Kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The server dies and is started again after a while. `keep` decides how many batches of the group under way survive.
    ServerCrash {
        /// How long it is down.
        down_ms: u64,
        /// Taken modulo the group's size and one.
        keep: u64,
    },
    /// The server stands still.
    ServerPause {
        /// How long.
        ms: u64,
    },
    /// A worker process dies; another takes its place after a while.
    WorkerCrash {
        /// Which.
        worker: usize,
        /// How long there is none.
        down_ms: u64,
    },
    /// A worker process stands still.
    WorkerPause {
        /// Which.
        worker: usize,
        /// How long.
        ms: u64,
    },
    /// A worker's handlers take longer.
    WorkerSlow {
        /// Which.
        worker: usize,
        /// How long this lasts.
        ms: u64,
    },
    /// A worker's connection is reset; either side learns it in its own time.
    Disconnect {
        /// Which worker's.
        worker: usize,
    },
    /// Nothing passes between a client and the server.
    Partition {
        /// Which client: the workers first, then the producers, then the operator.
        client: usize,
        /// How long.
        ms: u64,
    },
    /// Everything takes longer.
    SlowNet {
        /// Longest extra delay of a message.
        delay_ms: u64,
        /// How long this lasts.
        ms: u64,
    },
    /// Requests and answers of producers and the operator get lost or come twice.
    LossyNet {
        /// Lost messages in a thousand.
        loss: u32,
        /// Doubled messages in a thousand.
        twice: u32,
        /// How long this lasts.
        ms: u64,
    },
    /// Groups take longer to become durable.
    SlowDisk {
        /// How much longer.
        delay_ms: u64,
        /// How long this lasts.
        ms: u64,
    },
    /// Reads of the store take longer.
    SlowReads {
        /// Longest extra delay of a read.
        delay_ms: u64,
        /// How long this lasts.
        ms: u64,
    },
    /// The disk takes only what settles earlier work.
    DiskLow {
        /// How long.
        ms: u64,
    },
    /// The disk takes nothing.
    DiskFull {
        /// How long.
        ms: u64,
    },
    /// The server's wall clock is set.
    WallJump {
        /// By how much.
        ms: i64,
    },
}

/// Names of the kinds, in the order of [`What::kind`].
pub const KINDS: [&str; 14] = [
    "server crash",
    "server pause",
    "worker crash",
    "worker pause",
    "worker slow",
    "disconnect",
    "partition",
    "slow net",
    "lossy net",
    "slow disk",
    "slow reads",
    "disk low",
    "disk full",
    "wall jump",
];

impl What {
    /// Number of the kind, for counting.
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            What::ServerCrash { .. } => 0,
            What::ServerPause { .. } => 1,
            What::WorkerCrash { .. } => 2,
            What::WorkerPause { .. } => 3,
            What::WorkerSlow { .. } => 4,
            What::Disconnect { .. } => 5,
            What::Partition { .. } => 6,
            What::SlowNet { .. } => 7,
            What::LossyNet { .. } => 8,
            What::SlowDisk { .. } => 9,
            What::SlowReads { .. } => 10,
            What::DiskLow { .. } => 11,
            What::DiskFull { .. } => 12,
            What::WallJump { .. } => 13,
        }
    }
}

/// How many of each a world has, for drawing faults.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Workers.
    pub workers: usize,
    /// Clients of every sort.
    pub clients: usize,
    /// How long faults happen, in milliseconds.
    pub faults_ms: u64,
    /// How long a lease is good, in milliseconds.
    pub lease_ms: u64,
}

/// The faults of a seed.
#[must_use]
pub fn plan(rng: &mut Rng, size: Size) -> Vec<Fault> {
    let calm = rng.chance(50);
    let per_kind: Vec<u32> =
        KINDS.iter().map(|_| if rng.chance(450) { rng.pick(&[1, 2, 4]) } else { 0 }).collect();
    let total: u32 = per_kind.iter().sum();
    if calm || total == 0 {
        return Vec::new();
    }
    let every_ms = rng.pick(&[700, 1_500, 3_000, 6_000]);
    let mut faults = Vec::new();
    let mut at = rng.below(every_ms);
    while at < size.faults_ms {
        let mut roll = rng.below(u64::from(total));
        let kind = per_kind.iter().position(|weight| match roll.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                roll = rest;
                false
            }
            None => true,
        });
        faults.push(Fault { at, what: draw(kind.unwrap_or(0), rng, size) });
        at += rng.between(1, every_ms * 2);
    }
    faults
}

fn draw(kind: usize, rng: &mut Rng, size: Size) -> What {
    let worker = rng.below(size.workers as u64) as usize;
    let long = rng.pick(&[50, 400, 1_500, size.lease_ms, 2 * size.lease_ms]);
    let ms = rng.between(1, long);
    match kind {
        0 => What::ServerCrash { down_ms: rng.between(1, long.min(3_000)), keep: rng.next() },
        1 => What::ServerPause { ms: ms.min(4_000) },
        2 => What::WorkerCrash { worker, down_ms: ms },
        3 => What::WorkerPause { worker, ms },
        4 => What::WorkerSlow { worker, ms: ms * 3 },
        5 => What::Disconnect { worker },
        6 => What::Partition { client: rng.below(size.clients as u64) as usize, ms },
        7 => What::SlowNet { delay_ms: rng.between(1, 600), ms: ms * 2 },
        8 => What::LossyNet { loss: rng.pick(&[0, 50, 300]), twice: rng.pick(&[0, 100, 400]), ms: ms * 3 },
        9 => What::SlowDisk { delay_ms: rng.between(1, 900), ms: ms * 2 },
        10 => What::SlowReads { delay_ms: rng.between(1, 900), ms: ms * 2 },
        11 => What::DiskLow { ms },
        12 => What::DiskFull { ms },
        _ => What::WallJump { ms: jump(rng) },
    }
}

fn jump(rng: &mut Rng) -> i64 {
    let size = rng.pick(&[20, 1_000, 10_000, 60_000, 3_600_000]);
    let ms = rng.between(1, size) as i64;
    if rng.chance(500) { ms } else { -ms }
}
