//! The network: streams that workers hold open, and single requests of everybody else.
//!
//! A stream keeps its order and loses nothing until it is cut; then everything under way on it is gone, and either side
//! learns it in its own time. A partition stops a stream; what was sent meanwhile arrives when it is over. Requests and
//! answers are separate messages: they get lost, come twice, and overtake each other.

use std::collections::BTreeMap;

use crate::history::Process;
use crate::rng::Rng;

/// Shortest and longest delay of a message when nothing is wrong.
const DELAY_MS: (u64, u64) = (0, 4);

/// A stream between a worker and the server.
#[derive(Debug)]
pub struct Stream {
    /// Whose.
    pub of: Process,
    /// The server's process it was opened to.
    pub server: u64,
    /// Whether it is cut: nothing arrives any more.
    pub cut: bool,
    last_in: u64,
    last_out: u64,
}

/// What happens to a single message: when its copies arrive.
pub type Copies = Vec<u64>;

/// The network.
#[derive(Debug)]
pub struct Network {
    /// Open streams and those that were cut, by number.
    pub streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    partitioned_until: Vec<u64>,
    slow: (u64, u64),
    lossy: (u64, u32, u32),
    rng: Rng,
}

impl Network {
    /// A network with so many clients.
    #[must_use]
    pub fn new(seed: u64, clients: usize) -> Network {
        Network {
            streams: BTreeMap::new(),
            next_stream: 0,
            partitioned_until: vec![0; clients],
            slow: (0, 0),
            lossy: (0, 0, 0),
            rng: Rng::new(seed, 2),
        }
    }

    /// Nothing is wrong any more.
    pub fn heal(&mut self) {
        self.partitioned_until.iter_mut().for_each(|until| *until = 0);
        self.slow = (0, 0);
        self.lossy = (0, 0, 0);
    }

    /// Cuts a client off.
    pub fn partition(&mut self, client: usize, until: u64) {
        self.partitioned_until[client] = self.partitioned_until[client].max(until);
    }

    /// Makes everything slower.
    pub fn slow_down(&mut self, delay_ms: u64, until: u64) {
        self.slow = (until, delay_ms);
    }

    /// Loses and doubles requests and answers.
    pub fn lose(&mut self, loss: u32, twice: u32, until: u64) {
        self.lossy = (until, loss, twice);
    }

    fn delay(&mut self, at: u64) -> u64 {
        let extra = if at < self.slow.0 { self.slow.1 } else { 0 };
        self.rng.between(DELAY_MS.0, DELAY_MS.1 + extra)
    }

    /// A worker opens a stream to the server's process with this number.
    pub fn connect(&mut self, of: Process, server: u64) -> u64 {
        self.next_stream += 1;
        let stream = Stream { of, server, cut: false, last_in: 0, last_out: 0 };
        self.streams.insert(self.next_stream, stream);
        self.next_stream
    }

    /// When a frame that is sent now arrives; `None` on a stream that is cut.
    pub fn send(&mut self, at: u64, stream: u64, to_server: bool) -> Option<u64> {
        let delay = self.delay(at);
        let stream = self.streams.get_mut(&stream).filter(|stream| !stream.cut)?;
        let open_at = self.partitioned_until[stream.of.worker].max(at);
        let last = if to_server { &mut stream.last_in } else { &mut stream.last_out };
        *last = (*last).max(open_at + delay);
        Some(*last)
    }

    /// When one side learns that a stream was cut.
    pub fn learns_at(&mut self, at: u64, stream: u64) -> u64 {
        let long = self.rng.pick(&[2, 20, 300]);
        let delay = self.rng.between(0, long);
        let of = self.streams.get(&stream).map_or(0, |stream| stream.of.worker);
        self.partitioned_until[of].max(at) + delay
    }

    /// When the copies of a single message arrive. `may_double` is for requests that may be repeated without harm.
    pub fn post(&mut self, at: u64, client: usize, may_double: bool) -> Copies {
        let mut copies = Vec::new();
        let (until, loss, twice) = self.lossy;
        let (loss, twice) = if at < until { (loss, twice) } else { (0, 0) };
        if at < self.partitioned_until[client] || self.rng.chance(loss) {
            return copies;
        }
        copies.push(at + self.delay(at));
        if may_double && self.rng.chance(twice) {
            let later = self.rng.below(2_000);
            copies.push(at + self.delay(at) + later);
        }
        copies
    }
}
