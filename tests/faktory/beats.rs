//! `BEAT`, and what the death of a worker costs.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::peer::{Answer, Home, Peer, error, ok};

fn beat(peer: &mut Peer, more: &str) -> Answer {
    peer.ask(&format!("BEAT {{\"wid\":\"w1\"{more}}}"))
}

#[test]
fn states_are_told_and_never_go_back() {
    let home = Home::start(&[]);
    let (mut worker, mut other) = (home.worker("w1"), home.peer());
    assert_eq!(beat(&mut worker, ",\"rss_kb\":1234"), ok());
    assert_eq!(beat(&mut other, ""), ok(), "any connection may beat");
    assert_eq!(beat(&mut worker, ",\"current_state\":\"\""), ok());
    let state = |state: &str| Answer::Bulk(format!("{{\"state\":\"{state}\"}}"));
    assert_eq!(beat(&mut worker, ",\"current_state\":\"quiet\""), state("quiet"));
    worker.push("job-1-aaaa", &json!({}));
    let begun = Instant::now();
    assert_eq!(worker.ask("FETCH default"), Answer::Null, "a quiet worker gets no jobs");
    assert!(begun.elapsed() > Duration::from_millis(1_900));
    assert_eq!(beat(&mut worker, ",\"current_state\":\"terminate\""), state("terminate"));
    assert_eq!(beat(&mut worker, ""), state("terminate"));
    assert_eq!(other.fetch("default")["jid"], "job-1-aaaa");
    assert_eq!(other.ask("BEAT {\"wid\":\"nobody\"}"), error("Unknown worker nobody"));
    assert_eq!(other.ask("BEAT {}"), error("invalid BEAT {}"));
}

/// Waits for a job on one connection; how long it took.
fn until_given(peer: &mut Peer, jid: &str, longest: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        match peer.ask("FETCH default") {
            Answer::Null => assert!(begun.elapsed() < longest, "{jid} is not given to anybody else"),
            got => {
                assert_eq!(got.json()["jid"], jid);
                return begun.elapsed();
            }
        }
    }
}

/// A worker process that is killed loses all its connections at once. Its jobs go to others after one interval of its beats and
/// five seconds, at once and not after a retry's wait; one that comes back in time keeps them.
#[test]
fn the_jobs_of_a_killed_worker_go_to_others() {
    let home = Home::start(&[]);
    let (mut worker, second, mut other) = (home.worker("w1"), home.worker("w1"), home.peer());
    worker.push("job-1-aaaa", &json!({ "retry": 3 }));
    worker.fetch("default");
    beat(&mut worker, "");
    beat(&mut worker, "");
    drop((worker, second));
    std::thread::sleep(Duration::from_secs(5));
    let mut back = home.worker("w1");
    assert_eq!(other.ask("FETCH default"), Answer::Null);
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(other.sets(), [0, 0, 0, 1], "it came back");
    assert_eq!(beat(&mut back, ""), ok());
    beat(&mut back, "");
    drop(back);
    let took = until_given(&mut other, "job-1-aaaa", Duration::from_secs(20));
    println!("the job of a killed worker was given to another after {took:?}");
    assert!(took < Duration::from_secs(14), "{took:?}");
    other.ack("job-1-aaaa");
    assert_eq!(other.sets(), [0, 0, 0, 0]);
}

/// A worker that is silent for a minute, and a reservation of a minute: both are over. A worker that opens a connection per command
/// and never beats keeps its job meanwhile.
#[test]
fn after_a_minute_of_silence() {
    let home = Home::start(&[]);
    let mut other = home.peer();
    for (jid, more) in [
        ("job-1-aaaa", json!({})),
        ("job-2-aaaa", json!({ "reserve_for": 1, "retry": 2 })),
        ("job-3-aaaa", json!({})),
    ] {
        other.push(jid, &more);
    }
    let mut silent = home.worker("w1");
    silent.fetch("default");
    beat(&mut silent, "");
    let begun = Instant::now();
    other.fetch("default");
    let mut brief = home.worker("w2");
    assert_eq!(brief.fetch("default")["jid"], "job-3-aaaa");
    drop(brief);
    std::thread::sleep(Duration::from_secs(55));
    assert_eq!(other.sets(), [0, 0, 0, 3], "nothing happens before a minute is over");
    let took = until_given(&mut other, "job-1-aaaa", Duration::from_secs(20));
    assert!(begun.elapsed() > Duration::from_secs(59), "{took:?}");
    assert_eq!(silent.answer(), Answer::Closed, "its connection was closed");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(other.sets(), [0, 1, 0, 2], "a reservation that was over has failed");
    let requeue = r#"MUTATE {"cmd":"requeue","target":"retries","filter":{"jids":["job-2-aaaa"]}}"#;
    assert_eq!(other.ask(requeue), ok());
    let failure = other.fetch("default")["failure"].clone();
    assert_eq!((&failure["errtype"], &failure["remaining"]), (&json!("ReservationExpired"), &json!(2)));
    other.ack("job-3-aaaa");
    assert_eq!(other.sets(), [0, 0, 0, 2], "the one that never beats could finish");
}
