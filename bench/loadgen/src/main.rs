//! Load for brokers that are measured beside Windlass: jobs of 100 bytes, one queue, handlers that do nothing. One program,
//! one word per wire protocol.
//!
//! ```text
//! loadgen PROTOCOL PHASE [--key value]...
//!   PROTOCOL  redis-list redis-stream beanstalk nats amqp
//!   PHASE     reset   the queue exists and is empty
//!             enq     --conns C --window W --n N --secs S   W jobs under way per connection
//!             drain   --cconns C --cwindow W --n N --secs S
//!             both    enq and drain at once; ends when N jobs were consumed and acknowledged
//!             lat     --rate R --secs S   from just before the enqueue to the start of the handler
//! ```
//!
//! Prints one JSON object. The wire is written by hand where that is the fastest way (Redis, beanstalkd), so that the load
//! costs a broker as little of the shared processors as can be.
#![forbid(unsafe_code)]

mod amqp;
mod beanstalk;
mod natsjs;
mod phases;
mod redis;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Bytes of a job.
pub const JOB_BYTES: usize = 100;
pub type Job = [u8; JOB_BYTES];
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Res<T> = Result<T, Error>;
/// What a run has beyond its own time before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One broker.
pub trait Protocol: Clone + Send + Sync + 'static {
    type P: Producer;
    type C: Consumer;
    fn reset(&self) -> impl Future<Output = Res<()>> + Send;
    fn producer(&self, number: usize) -> impl Future<Output = Res<Self::P>> + Send;
    fn consumer(&self, number: usize) -> impl Future<Output = Res<Self::C>> + Send;
}

/// A connection that enqueues.
pub trait Producer: Send + 'static {
    /// Sends all jobs at once (pipelined) and waits until every one is acknowledged.
    fn put(&mut self, jobs: &[Job]) -> impl Future<Output = Res<()>> + Send;
}

/// A connection that consumes.
pub trait Consumer: Send + 'static {
    /// Acknowledges what the previous call returned, fetches up to `max` jobs (waiting up to `wait` for the first), and hands
    /// each to `each`.
    fn take<F: FnMut(&[u8]) + Send>(
        &mut self,
        max: usize,
        wait: Duration,
        each: F,
    ) -> impl Future<Output = Res<usize>> + Send;
    /// Acknowledges what the last `take` returned.
    fn flush(&mut self) -> impl Future<Output = Res<()>> + Send;
}

/// The arguments.
#[derive(Clone)]
pub struct Opts(Arc<HashMap<String, String>>);

impl Opts {
    pub fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| default.to_string())
    }

    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).map_or(default, |value| value.parse().expect("a number"))
    }

    pub fn address(&self, port: u64) -> String {
        format!("{}:{}", self.text("host", "127.0.0.1"), self.number("port", port))
    }
}

/// Nanoseconds since the first call; producers and consumers are in one process.
pub fn now_ns() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn hex16(out: &mut [u8], mut value: u64) {
    for digit in out[..16].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

pub fn unhex16(text: &[u8]) -> u64 {
    let digit = |c: u8| u64::from(if c <= b'9' { c - b'0' } else { c - b'a' + 10 });
    text[..16].iter().fold(0, |sum, &c| sum << 4 | digit(c))
}

/// A job with its number and the time.
pub fn job(number: u64) -> Job {
    let mut job = [b'x'; JOB_BYTES];
    hex16(&mut job, number);
    hex16(&mut job[16..], now_ns());
    job
}

fn main() -> Res<()> {
    let mut words = Vec::new();
    let mut options = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(key) => _ = options.insert(key.to_string(), arguments.next().ok_or("a value is missing")?),
            None => words.push(argument),
        }
    }
    let opts = Opts(Arc::new(options));
    let [protocol, phase] = &words[..] else {
        return Err("usage: loadgen PROTOCOL PHASE [--key value]...".into());
    };
    let runtime = match opts.number("threads", 1) {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        many => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(many as usize).enable_all().build()?
        }
    };
    let limit = Duration::from_secs(opts.number("secs", 30)) + PATIENCE;
    runtime.block_on(async {
        let run = async {
            match protocol.as_str() {
                "redis-list" => phases::run(redis::List(opts.clone()), phase, &opts).await,
                "redis-stream" => phases::run(redis::Stream(opts.clone()), phase, &opts).await,
                "beanstalk" => phases::run(beanstalk::Beanstalk(opts.clone()), phase, &opts).await,
                "nats" => phases::run(natsjs::Nats(opts.clone()), phase, &opts).await,
                "amqp" => phases::run(amqp::Amqp(opts.clone()), phase, &opts).await,
                other => Err(format!("unknown protocol {other}").into()),
            }
        };
        tokio::time::timeout(limit, run).await?
    })
}
