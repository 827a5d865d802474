//! Reservations: they belong to the job, not to a connection; a restart keeps them; what never reached a worker goes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::peer::{Answer, Home, error, ok};

#[test]
fn a_reservation_outlives_its_connection_and_anybody_may_end_it() {
    let home = Home::start(&[]);
    let mut first = home.worker("w1");
    first.push("job-1-aaaa", &json!({}));
    first.push("job-2-aaaa", &json!({}));
    first.fetch("default");
    first.fetch("default");
    assert_eq!(first.ask("END"), Answer::Closed);
    let mut other = home.peer();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(other.sets(), [0, 0, 0, 2]);
    other.ack("job-1-aaaa");
    other.ack("job-1-aaaa");
    assert_eq!(other.fail("job-2-aaaa"), ok());
    assert_eq!(other.sets(), [0, 1, 0, 0]);
    assert_eq!(other.info()["faktory"]["total_processed"], 2, "the second ACK counts nothing");
    assert_eq!(other.fail("job-1-aaaa"), error("Job not found job-1-aaaa"));
    other.ack("never-heard-of");
}

/// `kill -9` of the server while jobs run: nobody else gets them, and their workers can still say how it ended.
#[test]
fn a_restart_keeps_reservations() -> Result<()> {
    let mut home = Home::start(&[]);
    let mut worker = home.worker("w1");
    for n in 0..3 {
        worker.push(&format!("job-{n}-aaaa"), &json!({ "retry": 4 }));
        worker.fetch("default");
    }
    let mut nameless = home.peer();
    nameless.push("job-3-aaaa", &json!({}));
    nameless.fetch("default");
    // A lease is in the store with the next commit, for which nobody waits.
    nameless.push("job-4-aaaa", &json!({}));
    home.server.kill()?;
    home.server.restart()?;
    let mut worker = home.worker("w1");
    assert_eq!(worker.sets(), [0, 0, 0, 4]);
    assert_eq!(worker.fetch("default")["jid"], "job-4-aaaa");
    // Longer than any lease is good for by itself.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(worker.ask("FETCH default"), Answer::Null);
    worker.ack("job-0-aaaa");
    assert_eq!(worker.fail("job-1-aaaa"), ok());
    worker.ack("job-3-aaaa");
    assert_eq!(worker.sets(), [0, 1, 0, 2]);
    home.server.stop()
}

/// A stop in order, with a worker blocked in FETCH and another at work.
#[test]
fn an_orderly_stop_keeps_reservations_and_lets_go_of_who_waits() -> Result<()> {
    let mut home = Home::start(&[]);
    let mut worker = home.worker("w1");
    worker.push("job-1-aaaa", &json!({}));
    worker.fetch("default");
    let mut waiting = home.peer();
    waiting.send("FETCH default");
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    home.server.stop()?;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(waiting.answer(), Answer::Null | Answer::Closed));
    home.server.restart()?;
    let mut worker = home.worker("w1");
    assert_eq!(worker.sets(), [0, 0, 0, 1]);
    worker.ack("job-1-aaaa");
    assert_eq!(worker.sets(), [0, 0, 0, 0]);
    Ok(())
}

/// A peer that died while it waited gets no job.
#[test]
fn a_peer_that_is_gone_is_given_nothing() {
    let home = Home::start(&[]);
    let mut other = home.peer();
    for round in 0..20 {
        let mut gone = home.worker("w1");
        gone.send("FETCH default");
        std::thread::sleep(Duration::from_millis(20));
        drop(gone);
        let jid = format!("job-{round:04}-a");
        other.push(&jid, &json!({}));
        assert_eq!(other.fetch("default")["jid"], json!(jid));
        other.ack(&jid);
    }
    assert_eq!(other.info()["faktory"]["total_failures"], 0);
}

/// A peer that died with the job unread in its socket has not got it: the system says so, and the next one gets it at once.
#[test]
fn a_job_that_was_never_read_goes_back() {
    let home = Home::start(&[]);
    let mut other = home.peer();
    for round in 0..20 {
        let jid = format!("job-{round:04}-a");
        other.push(&jid, &json!({}));
        let mut killed = home.peer();
        killed.send("FETCH default");
        // The answer is here, and nobody reads it: closing now is a reset.
        let mut byte = [0];
        while killed.stream.peek(&mut byte).unwrap_or(0) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(killed);
        assert_eq!(other.fetch("default")["jid"], json!(jid));
        other.ack(&jid);
    }
    assert_eq!(other.info()["faktory"]["total_failures"], 0, "no attempt was used");
}
