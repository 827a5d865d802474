//! The node's session, queue and schedule actors, the native protocol, and the worker's client over a simulated network, in
//! virtual time: what happens depends on a seed and on nothing else.
//!
//! One server, two workers and two producers are the product's own code; only the network, the disk, the clock and the random
//! numbers are not real. Each seed draws its work and what disturbs it: partitions, held and lost messages, latency, killed
//! processes and vanished machines, orderly restarts, slow and full disks. Then all is made well and everything has to end.
//! The rules ([`rules`]) judge from what crossed the wire. Every seed runs twice, and both traces must be the same, byte by byte.
//!
//! - `WINDLASS_SEEDS=10000 cargo test -p windlass-tests --test network seeds` for more seeds than the default 100;
//! - `WINDLASS_SEED=7` begins at this one, and runs it alone unless a number is given as well. A failing seed prints this command.

mod book;
mod disk;
mod faults;
mod flood;
mod hosts;
mod plants;
mod rules;
mod run;
mod seeds;
mod wire;
mod work;
