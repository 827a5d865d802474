//! How much the door carries: push, fetch and ack as fast as so many connections can, each waiting for its answers as clients do.
//! Run by hand, with the release build: `WINDLASS_BINARY=target/release/windlass cargo test --release -p windlass-tests --test
//! faktory -- --ignored rate --nocapture`.

use std::time::Instant;

use serde_json::json;

use crate::peer::{Home, Peer, job, ok};

fn finish(peer: &mut Peer) {
    let jid = peer.fetch("default")["jid"].as_str().expect("a jid").to_owned();
    peer.ack(&jid);
}

fn measure(connections: usize, jobs: usize) {
    let home = Home::start(&[]);
    let at = home.server.faktory;
    let each = jobs / connections;
    let run = |what: &'static str, work: fn(&mut Peer, usize, usize)| {
        let begun = Instant::now();
        let threads: Vec<_> = (0..connections)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut peer = Peer::connect(at, json!({ "v": 2, "wid": format!("w{thread}") }));
                    (0..each).for_each(|n| work(&mut peer, thread, n));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
        let took = begun.elapsed();
        let rate = (connections * each) as f64 / took.as_secs_f64();
        println!("{connections:>4} connections, {what}: {rate:.0} jobs/s");
    };
    run("push", |peer, thread, n| {
        assert_eq!(peer.ask(&format!("PUSH {}", job(&format!("job-{thread:04}-{n:08}"), &json!({})))), ok());
    });
    run("fetch and ack", |peer, _, _| finish(peer));
    run("push, fetch and ack", |peer, thread, n| {
        assert_eq!(
            peer.ask(&format!("PUSH {}", job(&format!("again-{thread:04}-{n:08}"), &json!({})))),
            ok()
        );
        finish(peer);
    });
}

#[test]
#[ignore = "it measures, and takes the machine for itself"]
fn rate() {
    for (connections, jobs) in [(1, 2_000), (10, 20_000), (100, 60_000)] {
        measure(connections, jobs);
    }
}
