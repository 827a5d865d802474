//! The books without any connection.

use std::sync::{Arc, Mutex};

use super::*;
use crate::context::{Running, States, Stop};
use crate::peer_test::{delivery, lease};
use tokio::sync::mpsc;
use windlass_core::api::ErrorCode;
use windlass_core::job::Payload;
use windlass_core::limits;
use windlass_core::wire::{decode_exact, next_frame};

fn admit(delivery: Delivery) -> JobCtx {
    let (progress, _) = mpsc::channel(1);
    let states = Arc::new(States::default());
    JobCtx::new(Arc::new(Running { delivery, stop: Stop::default(), deadline: None, states, progress }))
}

fn deliver(ledger: &mut Ledger, numbers: &[u8]) -> Vec<JobCtx> {
    ledger.deliver(numbers.iter().map(|n| delivery(*n, "k", "1")).collect(), admit)
}

fn end(ledger: &mut Ledger, job: &JobCtx) {
    ledger.finish(Finished { job: job.clone(), verdict: Some(Verdict::Done(None)) });
}

/// The reports that are written now: number and ids.
fn reports(ledger: &mut Ledger) -> Vec<(u64, Vec<u8>)> {
    let mut out = BytesMut::new();
    ledger.write_reports(&mut out, usize::MAX);
    let mut reports = Vec::new();
    while let Some(body) = next_frame(&mut out, limits::FRAME_BYTES_MAX).expect("sound") {
        let ClientFrame::Report(report) = decode_exact(&body).expect("a client frame") else {
            panic!("no report")
        };
        reports.push((report.request, report.outcomes.iter().map(|o| o.id.0[0]).collect()));
    }
    reports
}

#[test]
fn credit_and_running_jobs_together_are_the_slots() {
    let mut ledger = Ledger::new(3);
    assert_eq!((ledger.credit_due(), ledger.credit_due()), (3, 0));
    let jobs = deliver(&mut ledger, &[1, 2]);
    assert_eq!((ledger.running(), ledger.credit_due()), (2, 0));
    end(&mut ledger, &jobs[0]);
    assert_eq!(ledger.credit_due(), 1);
    end(&mut ledger, &jobs[0]);
    assert_eq!(ledger.credit_due(), 0, "an end that is told twice frees one slot");
    ledger.disconnected();
    assert_eq!(ledger.credit_due(), 2, "the running job keeps its slot across a reconnect");
}

#[test]
fn what_comes_without_credit_is_given_back() {
    let mut ledger = Ledger::new(1);
    assert_eq!(ledger.credit_due(), 1);
    assert_eq!(deliver(&mut ledger, &[1, 2]).len(), 1);
    assert_eq!(reports(&mut ledger), [(1, vec![2])]);
    ledger.quiet();
    assert!(deliver(&mut ledger, &[3]).is_empty());
    assert_eq!(reports(&mut ledger), [(2, vec![3])]);
    assert_eq!(ledger.credit_due(), 0);
}

#[test]
fn a_lost_connection_repeats_reports_in_order_and_presents_their_leases() {
    let mut ledger = Ledger::new(4);
    ledger.credit_due();
    let jobs = deliver(&mut ledger, &[1, 2, 3, 4]);
    end(&mut ledger, &jobs[0]);
    assert_eq!(reports(&mut ledger), [(1, vec![1])]);
    end(&mut ledger, &jobs[1]);
    ledger.disconnected();

    let mut presented: Vec<u8> = ledger.leases().iter().map(|lease| lease.id.0[0]).collect();
    presented.sort_unstable();
    assert_eq!(presented, [1, 2, 3, 4]);
    assert_eq!(reports(&mut ledger), [(2, vec![1, 2])]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let events = EventSink::new(move |event| {
        let ConnectionEvent::Reported { id, refused, .. } = event else { panic!("only reports: {event:?}") };
        teller.lock().unwrap().push((id.0[0], *refused));
    });
    let results = [ReportResult::Refused(ErrorCode::StaleLease), ReportResult::Recorded];
    ledger.answered(2, &results, Instant::now(), &events);
    assert_eq!(*told.lock().unwrap(), [(1, Some(ErrorCode::StaleLease)), (2, None)]);
    assert_eq!((ledger.unrecorded(), ledger.running()), (0, 2));

    // A job that belongs to somebody else is not presented again.
    ledger.stop(lease(&delivery(3, "k", "1")), StopReason::LeaseLost);
    assert_eq!(ledger.leases().iter().map(|lease| lease.id.0[0]).collect::<Vec<_>>(), [4]);
}

#[test]
fn an_end_that_the_server_is_too_busy_for_is_told_again() {
    let mut ledger = Ledger::new(1);
    ledger.credit_due();
    let jobs = deliver(&mut ledger, &[1]);
    end(&mut ledger, &jobs[0]);
    assert_eq!(reports(&mut ledger), [(1, vec![1])]);
    let now = Instant::now();
    ledger.answered(1, &[ReportResult::Refused(ErrorCode::StoreFull)], now, &EventSink::default());
    assert_eq!((reports(&mut ledger), ledger.is_settled()), (vec![], false));
    assert_eq!(ledger.next_retry(), Some(now + BUSY_WAIT));
    ledger.wake(now + BUSY_WAIT);
    assert_eq!(reports(&mut ledger), [(2, vec![1])]);
    ledger.answered(2, &[ReportResult::Recorded], now, &EventSink::default());
    assert!(ledger.is_settled());
}

#[test]
fn reports_have_a_size_and_the_backlog_stops_credit() {
    let mut ledger = Ledger::new(2);
    ledger.credit_due();
    let jobs = deliver(&mut ledger, &[1, 2]);
    for job in &jobs {
        let result = Payload::json(vec![b'1'; REPORT_BYTES_MAX]);
        ledger.finish(Finished { job: job.clone(), verdict: Some(Verdict::Done(Some(result))) });
    }
    assert_eq!(reports(&mut ledger), [(1, vec![1]), (2, vec![2])]);

    let mut ledger = Ledger::new(1);
    for _ in 0..BACKLOG_JOBS_MIN {
        assert_eq!(ledger.credit_due(), 1);
        let jobs = deliver(&mut ledger, &[1]);
        end(&mut ledger, &jobs[0]);
    }
    assert_eq!(ledger.credit_due(), 0, "the server does not record, so nothing more is taken");
    let written = reports(&mut ledger);
    assert_eq!(written.len(), BACKLOG_JOBS_MIN.div_ceil(REPORT_JOBS_MAX));
    ledger.answered(1, &vec![ReportResult::Recorded; REPORT_JOBS_MAX], Instant::now(), &EventSink::default());
    assert_eq!(ledger.credit_due(), 1);
}
