//! What the language means, by examples, and what holds for every text.

use proptest::prelude::*;

use super::{FIELDS, Filter, quote};
use crate::api::{AttemptView, JobView};
use crate::id::WorkerId;
use crate::job::{AttemptOutcome, JobState, Payload};
use crate::retry::Backoff;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn job() -> JobView {
    let attempt = AttemptView {
        attempt: 1,
        worker: WorkerId([7; 16]),
        worker_name: "host-7/1".to_owned(),
        started_at: NOW,
        ended_at: Some(NOW),
        outcome: Some(AttemptOutcome::Failed),
        error: "Connection TIMED out after 30 s".to_owned(),
        token: None,
    };
    JobView {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        queue: "mail.eu/high".parse().unwrap(),
        kind: "send_email".to_owned(),
        state: JobState::Dead,
        priority: -3,
        payload: Payload::json(
            r#"{"user":{"id":123,"name":"Ada, Countess","vip":true,"none":null},"items":[{"sku":"a-1","n":2},{"sku":"b-2","n":10}],
               "big":12345678901234567890123,"ids":[1,2,3],"at":"2026-11-24T10:00:00Z","price":1.50}"#,
        ),
        enqueued_at: Timestamp(NOW.0 - 20 * 60_000),
        run_at: NOW,
        ended_at: Some(NOW),
        expires_at: None,
        timeout_ms: None,
        attempt: 3,
        max_attempts: 5,
        backoff: Backoff::default(),
        retention_ms: None,
        crashes: 0,
        attempts: vec![attempt],
        result: None,
        reason: "failed 3 of 5 attempts".to_owned(),
        progress: None,
        cancel_requested: false,
        tags: vec!["vip".to_owned(), "eu west".to_owned()],
        headers: vec![("X-Tenant".to_owned(), "acme".to_owned())],
    }
}

fn takes(text: &str) -> bool {
    Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&job(), NOW)
}

#[test]
fn terms_that_take_the_job() {
    for text in [
        "",
        "state:dead",
        "state:ready,dead kind:send_email",
        "kind:send_*",
        "kind:*mail kind:s*_e*l",
        "queue:mail.eu/high -queue:test",
        "tag:vip tag:\"eu west\"",
        "tag!=us",
        "id:01890a5d* worker:host-7* worker:070707070707",
        "error:\"timed OUT\" error:\"3 of 5\" error:conn*30",
        "args.user.id:123 args.user.id:123.0 args.user.id>=123 args.user.id<124",
        "args.user.name:\"Ada, Countess\" args.user.vip:true args.user.none:null",
        "args.items.sku:b-2 args.items.1.n:10 args.items.n>9 args.items.0.sku:a-*",
        "args.big:12345678901234567890123 args.big>12345678901234567890122 -args.big:12345678901234567890124",
        "args.ids:2 args.ids.2:3 args.ids>2 -args.ids>3",
        "args.at>=2026-11-24 args.at<2026-11-25",
        "args.price:1.5 args.price<1.51",
        "args.user:* -args.nobody:*",
        "args:Countess",
        "header.x-tenant:acme,other",
        "age>10m age<1h age>=20m -age>1h30m",
        "attempt>=3 attempt:3 max_attempts>4 crashes:0 priority<0 priority:-3 size>10",
        "enqueued>=2023-11-14 ended<2030-01-31T09:30:00+01:00 run_at>2001-01-01",
        "countess timed \"of 5\" send_",
        "-nothing",
    ] {
        assert!(takes(text), "{text}");
    }
}

#[test]
fn terms_that_do_not() {
    for text in [
        "state:ready",
        "-state:dead",
        "kind:send",
        "kind:\"send_*\"",
        "kind:send_email*x",
        "tag:eu",
        "id:01890a5d",
        "error:refused",
        "args.user.id:12",
        "args.user.id:\"12*\"",
        "args.user:123",
        "args.user.id.x:1",
        "args.items.sku:c",
        "args.items.2.n:10",
        "header.tenant:acme",
        "age<10m",
        "attempt>3",
        "ended>2026-01-01",
        "args:COUNTESS",
    ] {
        assert!(!takes(text), "{text}");
    }
}

#[test]
fn mistakes_are_shown_with_their_place() {
    for (text, error) in [
        ("stat:dead", "column 1: there is no field \"stat\"; did you mean \"state\"?"),
        ("kind:a -stat:dead", "column 9: there is no field \"stat\"; did you mean \"state\"?"),
        ("state:ded", "column 7: there is no state \"ded\"; did you mean \"dead\"?"),
        ("kind:ä age>10", "column 12: write a time such as 90s, 10m, 1h30m or 2d, not \"10\""),
        ("age:10m", "column 1: no job has exactly this age; write age> or age<"),
        ("error:\"open", "column 7: the quote that begins here does not end; put \" behind the text"),
        ("kind:", "column 6: kind needs a value; an empty one is not looked for"),
        ("kind>a", "column 1: kind has no order; write kind: and the value"),
        ("attempt>=many", "column 10: attempt is compared with a whole number, not \"many\""),
        ("attempt:1,2", "column 9: attempt takes one value"),
        ("args..x:1", "column 1: the path behind args. has an empty part"),
        ("kind.x:1", "column 1: kind has no parts; only args and header have"),
        ("args.x>1*", "column 8: args.x is compared with one value, without a star"),
        ("\"\"", "column 1: there is nothing to look for"),
        (":x", "column 1: a field's name is missing before the operator"),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), error, "{text}");
    }
    let unknown = Filter::parse("https://example.org").unwrap_err().to_string();
    assert!(unknown.contains("the fields are state, kind") && unknown.contains("in quotes"), "{unknown}");
    assert!(Filter::parse(&"a ".repeat(40)).unwrap_err().message.contains("at most 32 terms"));
    assert!(Filter::parse(&"a".repeat(3_000)).unwrap_err().message.contains("at most 2048"));
    assert!(Filter::parse(&format!("kind:{}a", "a,".repeat(80))).unwrap_err().message.contains("64 values"));
}

#[test]
fn every_field_in_the_table_can_be_used() {
    for field in FIELDS {
        let filter = Filter::parse(field.example).unwrap_or_else(|e| panic!("{}: {e}", field.example));
        assert!(field.example.contains(field.name) && !filter.is_empty());
    }
}

#[test]
fn a_scan_learns_where_to_look() {
    let states = |text: &str| Filter::parse(text).unwrap().states();
    assert_eq!(states("kind:a"), None);
    assert_eq!(states("state:dead,ready -state:ready"), Some(vec![JobState::Dead]));
    assert_eq!(states("state:dead state:ready"), Some(vec![]));
    let filter = Filter::parse("queue:mail*").unwrap();
    assert_eq!(filter.named_queue(), None);
    assert!(filter.may_take_queue(&"mail.eu".parse().unwrap()));
    assert!(!filter.may_take_queue(&"default".parse().unwrap()));
    assert_eq!(Filter::parse("queue:mail").unwrap().named_queue(), Some("mail".parse().unwrap()));
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9.*-]{1,8}",
        "\\PC{0,6}".prop_filter_map("not empty", |text| (!text.is_empty()).then(|| quote(&text)))
    ]
}

fn a_term() -> impl Strategy<Value = String> {
    let text = (
        prop::sample::select(vec!["kind", "tag", "id", "worker", "error", "args.a.b", "header.x", "args"]),
        prop::collection::vec(value(), 1..4),
    );
    let number = (prop::sample::select(vec!["attempt", "priority", "size"]), "(:|<|<=|>|>=)-?[0-9]{1,9}");
    prop_oneof![
        text.prop_map(|(field, values)| format!("{field}:{}", values.join(","))),
        number.prop_map(|(field, rest)| format!("{field}{rest}")),
        "age(<|<=|>|>=)([0-9]{1,3}d)?[0-9]{1,3}(ms|s|m|h|w)",
        "(enqueued|ended)(<|>=)20[0-9]{2}-0[1-9]-[12][0-8]",
        prop::sample::select(JobState::ALL.to_vec()).prop_map(|state| format!("state:{state}")),
        "\\PC{1,6}".prop_map(|text| quote(&text)),
    ]
}

proptest! {
    /// Whatever was read is written so that it reads the same.
    #[test]
    fn a_filter_survives_its_text(terms in prop::collection::vec((any::<bool>(), a_term()), 0..6)) {
        let text: Vec<_> = terms.iter().map(|(not, term)| format!("{}{term}", if *not { "-" } else { "" })).collect();
        let filter = Filter::parse(&text.join(" ")).unwrap();
        prop_assert_eq!(&Filter::parse(&filter.to_string()).unwrap(), &filter, "{}", filter);
        // And a term or its negation takes a job, never both.
        for (not, term) in &terms {
            let (plain, turned) = (takes(term), takes(&format!("-{term}")));
            prop_assert!(plain != turned, "{} {}", not, term);
        }
    }

    /// No text breaks the parser, and an error points into the text or just behind it.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
        }
    }

    /// Nor does any JSON under any path.
    #[test]
    fn any_payload_is_looked_through(data in "[\\[\\]{}:,\"a0-9 ]{0,40}", path in "[a-z0-9]{1,2}(\\.[a-z0-9]{1,2}){0,3}") {
        let mut job = job();
        job.payload = Payload::json(data);
        // Nothing is asked of the answer but that there is one.
        let _ = Filter::parse(&format!("args.{path}>1")).unwrap().matches(&job, NOW);
    }

    /// A literal kind in quotes is that kind alone, whatever it has in it.
    #[test]
    fn quotes_are_literal(kind in "\\PC{1,12}", other in "\\PC{1,12}") {
        let filter = Filter::parse(&format!("kind:{}", quote(&kind))).unwrap();
        let mut job = job();
        job.kind.clone_from(&kind);
        prop_assert!(filter.matches(&job, NOW));
        job.kind.clone_from(&other);
        prop_assert_eq!(filter.matches(&job, NOW), kind == other);
    }
}
