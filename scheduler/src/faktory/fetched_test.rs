//! What a worker is handed.

use serde_json::{Value, json};
use windlass_core::id::WorkerId;
use windlass_core::job::{AttemptRecord, JobOptions, Past};

use super::*;
use crate::faktory::pushed::Pushed;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn pushed(text: &str) -> (QueueName, Job) {
    let pushed = Pushed::read(text, NOW).expect("a good job");
    let job = Job {
        id: pushed.spec.id.expect("derived from the jid"),
        kind: pushed.spec.kind,
        payload: pushed.spec.payload,
        priority: 0,
        enqueued_at: NOW,
        run_at: NOW,
        options: pushed.spec.options,
        past: None,
    };
    (pushed.queue, job)
}

fn failed(job: &mut Job, errors: &[(AttemptOutcome, &str)]) {
    let record = |(index, (outcome, error)): (usize, &(AttemptOutcome, &str))| AttemptRecord {
        attempt: u32::try_from(index).expect("few") + 1,
        worker: WorkerId([0; 16]),
        started_at: NOW,
        ended_at: NOW.plus_ms(1_000 * (index as u64 + 1)),
        outcome: *outcome,
        error: (*error).to_owned(),
    };
    let history: Vec<_> = errors.iter().enumerate().map(record).collect();
    job.past = Some(Box::new(Past {
        attempts: u32::try_from(errors.len()).expect("few"),
        history,
        ..Past::default()
    }));
    job.run_at = NOW.plus_ms(60_000);
}

fn json_of(queue: &QueueName, job: &Job) -> Value {
    serde_json::from_str(&Shown::of_job(queue, job).hand_out().json).expect("JSON")
}

#[test]
fn a_pushed_job_comes_back_with_what_the_server_adds() {
    let (queue, job) = pushed(
        r#"{"jid":"12345678","jobtype":"a","args":[1],"queue":"q","x":1.0,"at":"","enqueued_at":"never"}"#,
    );
    let handed = Shown::of_job(&queue, &job).hand_out();
    let expected = concat!(
        r#"{"jid":"12345678","queue":"q","jobtype":"a","args":[1],"x":1.0,"retry":25,"#,
        r#""created_at":"2023-11-14T22:13:20.000Z","enqueued_at":"2023-11-14T22:13:20.000Z"}"#
    );
    assert_eq!(handed.json, expected);
    assert_eq!(handed.terms, Terms { retry: 25, failures: 0, reserve_ms: 1_800_000 });
}

#[test]
fn a_failure_is_told() {
    let (queue, mut job) =
        pushed(r#"{"jid":"12345678","jobtype":"a","args":[],"retry":3,"created_at":"2020-01-01T00:00:00Z"}"#);
    failed(
        &mut job,
        &[(AttemptOutcome::Failed, "A: first"), (AttemptOutcome::Failed, "B: two: x\n\nbacktrace:\nl1\nl2")],
    );
    let back = json_of(&queue, &job);
    let failure = json!({
        "retry_count": 1, "remaining": 2, "failed_at": "2023-11-14T22:13:21.000Z", "next_at": "2023-11-14T22:14:20.000Z",
        "message": "two: x", "errtype": "B", "backtrace": ["l1", "l2"],
    });
    assert_eq!(back["failure"], failure);
    assert_eq!(
        (&back["created_at"], &back["enqueued_at"]),
        (&json!("2020-01-01T00:00:00Z"), &json!("2023-11-14T22:14:20.000Z"))
    );
    assert_eq!(Shown::of_job(&queue, &job).hand_out().terms.failures, 2);
}

/// Clients read an unsigned number, whatever the job asked for.
#[test]
fn nothing_remains_below_zero() {
    let (queue, mut job) = pushed(r#"{"jid":"12345678","jobtype":"a","args":[],"retry":-1}"#);
    failed(&mut job, &[(AttemptOutcome::Lost, "gone")]);
    let failure = &json_of(&queue, &job)["failure"];
    assert_eq!(
        (&failure["remaining"], &failure["errtype"], &failure["message"]),
        (&json!(0), &json!("WorkerLost"), &json!("gone"))
    );
}

#[test]
fn a_failure_that_was_pushed_is_kept_and_counted_on() {
    let text = r#"{"jid":"12345678","jobtype":"a","args":[],"retry":5,"failure":{"retry_count":2,"failed_at":"2020-01-01T00:00:00Z","own":1}}"#;
    let (queue, mut job) = pushed(text);
    assert_eq!(json_of(&queue, &job)["failure"]["own"], json!(1));
    assert_eq!(job.max_attempts(), 3);
    failed(&mut job, &[(AttemptOutcome::Failed, "A: x")]);
    let failure = &json_of(&queue, &job)["failure"];
    assert_eq!((&failure["retry_count"], &failure["remaining"]), (&json!(3), &json!(2)));
    assert_eq!(failure["failed_at"], json!("2020-01-01T00:00:00Z"));
}

#[test]
fn a_job_of_another_door_is_dressed() {
    let queue = QueueName::default();
    let mut job = pushed(r#"{"jid":"12345678","jobtype":"a","args":[]}"#).1;
    job.options = Some(Box::new(JobOptions {
        max_attempts: Some(4),
        timeout_ms: Some(90_500),
        ..JobOptions::default()
    }));
    for (payload, args) in [
        (Payload::json("[1, 2]"), json!([1, 2])),
        (Payload::json(" {\"to\": 1}"), json!([{ "to": 1 }])),
        (Payload::json(""), json!([])),
        (
            Payload { content_type: "text/plain".to_owned(), data: "hi".into() },
            json!([{ "content_type": "text/plain", "base64": "aGk=" }]),
        ),
        (Payload::json("no json"), json!([{ "content_type": "application/json", "base64": "bm8ganNvbg==" }])),
    ] {
        job.payload = payload;
        let back = json_of(&queue, &job);
        assert_eq!(back["args"], args);
        assert_eq!(
            (&back["retry"], &back["reserve_for"], &back["jid"]),
            (&json!(3), &json!(91), &json!(job.id.to_string()))
        );
    }
    job.options = Some(Box::new(JobOptions { max_attempts: Some(1), ..JobOptions::default() }));
    assert_eq!(Shown::of_job(&queue, &job).hand_out().terms.retry, -1, "one attempt, and then dead");
}

/// A header of that name which somebody else has made says nothing.
#[test]
fn a_wrong_envelope_is_no_envelope() {
    let (queue, mut job) = pushed(r#"{"jid":"12345678","jobtype":"a","args":[7]}"#);
    for wrong in ["", "{", "[]", "{\"jid\":1}", "{}"] {
        job.options.as_mut().expect("options").headers = vec![(ENVELOPE.to_owned(), wrong.to_owned())];
        let back = json_of(&queue, &job);
        assert_eq!((&back["jid"], &back["args"]), (&json!(job.id.to_string()), &json!([7])), "{wrong}");
    }
}
