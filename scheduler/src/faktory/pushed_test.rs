//! What is taken of a pushed job, what is refused, and with which words: clients compare them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn job(more: Value) -> String {
    let mut job = json!({ "jid": "12345678", "jobtype": "send", "args": [1, "a"] });
    job.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
    job.to_string()
}

fn read(more: Value) -> Pushed {
    Pushed::read(&job(more), NOW).expect("a good job")
}

fn error(more: Value) -> String {
    Pushed::read(&job(more), NOW).expect_err("a bad job").text
}

fn options(pushed: &Pushed) -> windlass_core::job::JobOptions {
    *pushed.spec.options.clone().expect("options")
}

#[test]
fn the_least_job() {
    let pushed = read(json!({}));
    assert_eq!(
        (pushed.jid.as_str(), pushed.queue.as_str(), pushed.spec.kind.as_str()),
        ("12345678", "default", "send")
    );
    assert_eq!(pushed.spec.payload, Payload::json(r#"[1,"a"]"#));
    assert_eq!((pushed.spec.run_at, pushed.spec.priority), (RunAt::Now, 0));
    let options = options(&pushed);
    assert_eq!((options.max_attempts, options.timeout_ms, options.expires_at), (Some(26), None, None));
}

#[test]
fn fields_become_features() {
    let pushed = read(json!({
        "queue": "mail.eu", "priority": 9, "retry": 2, "reserve_for": 5, "at": "2030-01-01T00:00:00.5+01:00",
        "custom": { "traceparent": "00-1-2-01", "expires_in": 2.5 }
    }));
    assert_eq!((pushed.queue.as_str(), pushed.spec.priority), ("mail.eu", 4));
    assert_eq!(pushed.spec.run_at, RunAt::At(Timestamp(1_893_452_400_500)));
    let options = options(&pushed);
    assert_eq!((options.max_attempts, options.timeout_ms), (Some(3), Some(60_000)));
    assert_eq!(options.expires_at, Some(Timestamp(NOW.0 + 2_500)));
    assert_eq!(options.headers[0], ("traceparent".to_owned(), "00-1-2-01".to_owned()));
}

#[test]
fn what_says_nothing_is_the_default() {
    let pushed =
        read(json!({ "at": "", "queue": null, "retry": null, "priority": "high", "created_at": null }));
    assert_eq!((pushed.spec.run_at, pushed.queue.as_str()), (RunAt::Now, "default"));
    assert_eq!(options(&pushed).max_attempts, Some(26));
    assert_eq!(read(json!({ "at": "2020-01-01T00:00:00Z" })).spec.run_at, RunAt::Now);
    assert_eq!(read(json!({ "at": "0001-01-01T00:00:00Z" })).spec.run_at, RunAt::Now);
}

#[test]
fn refusals_in_the_words_that_clients_know() {
    assert_eq!(error(json!({ "jid": "short" })), "jobs must have a reasonable jid parameter");
    assert_eq!(error(json!({ "jobtype": "" })), "jobs must have a jobtype parameter");
    assert_eq!(error(json!({ "args": null })), "jobs must have an args parameter");
    assert_eq!(error(json!({ "reserve_for": 86_401 })), "jobs cannot be reserved for more than one day");
    assert!(
        error(json!({ "queue": "a b" })).starts_with("cannot get \"a b\" queue: queue names must match ")
    );
    assert!(error(json!({ "at": "soon" })).starts_with("invalid timestamp for 'at': "));
    for wrong in [
        json!({ "args": {} }),
        json!({ "retry": "2" }),
        json!({ "retry": 2.5 }),
        json!({ "custom": [] }),
        json!({ "jobtype": 1 }),
        json!({ "jid": 12_345_678 }),
        json!({ "created_at": 1 }),
        json!({ "backtrace": "all" }),
    ] {
        assert!(error(wrong.clone()).starts_with("invalid JSON: "), "{wrong}");
    }
    let broken = Pushed::read("{\"jid\":", NOW).expect_err("broken");
    assert!(broken.text.starts_with("invalid JSON: ") && broken.jid.is_empty());
}

#[test]
fn an_absent_retry_does_not_depend_on_what_others_said() {
    assert_eq!(options(&read(json!({ "retry": -1 }))).max_attempts, Some(1));
    assert_eq!(options(&read(json!({}))).max_attempts, Some(26));
}

/// What does not fit into a header makes the whole job the payload, and it comes back all the same.
#[test]
fn a_large_custom_travels_in_the_payload() {
    let large = "x".repeat(20_000);
    let pushed = read(json!({ "custom": { "large": large }, "args": [] }));
    assert_eq!(pushed.spec.payload.content_type, WHOLE);
    let back: Value = serde_json::from_str(&pushed.round_trip(NOW)).expect("JSON");
    assert_eq!((&back["custom"]["large"], &back["args"]), (&json!(large), &json!([])));
}

#[test]
fn a_batch_keeps_the_good_ones() {
    let text = format!("[{},{},7]", job(json!({})), job(json!({ "jid": "short" })));
    let jobs = read_many(&text, NOW).expect("an array");
    assert!(jobs[0].is_ok() && jobs[1].is_err() && jobs[2].is_err());
    assert_eq!(jobs[1].as_ref().err().map(|refused| refused.jid.as_str()), Some("short"));
    assert!(read_many("{}", NOW).expect_err("no array").starts_with("invalid JSON: "));
}

proptest! {
    /// Whatever stands in arguments, custom and unknown fields comes back digit for digit.
    #[test]
    fn values_come_back_as_they_were(
        digits in "-?[1-9][0-9]{0,40}",
        fraction in "[0-9]{1,20}",
        text in "\\PC{0,20}",
        name in "[a-z]{9,12}",
    ) {
        let quoted = serde_json::to_string(&text).expect("text");
        let value = format!("[{digits},{digits}.{fraction}e-7,{quoted},{{\"k\":{digits}}}]");
        let spaced = format!("[{digits},{digits}.{fraction}e-7,{quoted} , {{\"k\":{digits}}}]");
        let push = format!(
            "{{\"args\":{spaced}, \"jid\":\"12345678\",\"custom\":{{\"v\":{spaced}}},\"{name}\":{spaced},\"jobtype\":{quoted}}}"
        );
        match Pushed::read(&push, NOW) {
            Ok(pushed) => {
                let back = pushed.round_trip(NOW);
                prop_assert!(back.contains(&format!("\"args\":{value}")), "{back}");
                prop_assert!(back.contains(&format!("\"v\":{value}")), "{back}");
                prop_assert!(back.contains(&format!("\"{name}\":{value}")), "{back}");
            }
            // An empty type, or one of control characters, is no type.
            Err(refused) => prop_assert!(text.is_empty() || text.len() > 128 || text.chars().any(char::is_control), "{refused:?}"),
        }
    }

    /// No text brings the reader down.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,60}") {
        let _ = Pushed::read(&text, NOW);
        let _ = read_many(&text, NOW);
    }
}
