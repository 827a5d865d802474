//! The node's session, queue and schedule actors, the native protocol, and the worker's client over a simulated network, in
//! virtual time: what happens depends on a seed and on nothing else.

mod book;
mod disk;
mod hosts;
mod wire;
mod work;

use std::time::Duration;

use windlass_scheduler::chance::Chance;
use work::{PRODUCERS, SERVER, WORKERS, Work};

#[test]
fn one() {
    for _ in 0..2 {
        let mut sim = turmoil::Builder::new()
            .rng_seed(7)
            .tick_duration(Duration::from_millis(2))
            .simulation_duration(Duration::from_secs(100))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(20))
            .build();
        let work = Work::draw(&Chance::seeded(7), 40, Duration::from_secs(5));
        let site = hosts::Site::new(7, work, hosts::Plant::default(), sim.lookup(SERVER));
        let s = site.clone();
        sim.host(SERVER, move || hosts::server(s.clone()));
        for host in WORKERS {
            let s = site.clone();
            sim.host(host, move || hosts::worker(s.clone(), host));
        }
        for host in PRODUCERS {
            sim.client(host, hosts::producer(site.clone(), host));
        }
        let begun = std::time::Instant::now();
        let ran = sim.run();
        println!("{ran:?} {:?} {:?}", sim.elapsed(), begun.elapsed());
        let trace = site.book.trace();
        println!("{} {}", trace.lines().count(), trace.lines().last().unwrap());
        std::fs::write("/tmp/w/shell-trace.txt", trace).unwrap();
    }
}
