//! `kill -9` at any moment loses nothing that was confirmed.

use std::time::Duration;

use windlass_scheduler::store::open;

use crate::support::{Random, from_env};
use crate::writer::{Plan, Writer};

#[test]
fn a_killed_writer_loses_nothing() {
    let mut random = Random::new("killed");
    let kills = from_env("WINDLASS_STORE_KILLS").unwrap_or(12);
    for payload in [200, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan { payload };
        let mut confirmed = 0;
        for kill in 0..kills / 2 {
            let writer = Writer::start(dir.path(), plan);
            confirmed = writer.first_ack().max(confirmed);
            std::thread::sleep(Duration::from_millis(random.below(500)));
            confirmed = writer.kill().unwrap_or(0).max(confirmed);
            if kill % 3 == 2 {
                // In between only writers open it, so that their own starts are what is tested.
                let store = open(&plan.config(dir.path())).unwrap();
                let mark = plan.check(store.as_ref());
                assert!(mark >= confirmed, "confirmed up to {confirmed}, found up to {mark}");
            }
        }
        println!("killed: payload {payload}, {} kills, {confirmed} batches confirmed", kills / 2);
    }
}
