//! Handlers through the whole pipeline, without any server.

use std::sync::Mutex;

use super::*;
use crate::context::{Running, States, Stop};
use crate::error::Error;
use crate::handler::State;
use crate::job::Job;
use crate::peer_test::{PATIENCE, delivery};
use crate::testing::{Performed, perform};
use crate::worker::{Worker, WorkerBuilder};
use tower::layer::layer_fn;
use tower::{ServiceExt, service_fn};

fn builder() -> WorkerBuilder {
    Worker::builder("127.0.0.1:7421")
}

fn job(payload: impl serde::Serialize) -> Job {
    Job::new("k", &payload).expect("JSON")
}

async fn verdict(builder: WorkerBuilder, job: Job) -> Verdict {
    let done = tokio::time::timeout(PATIENCE, perform(&builder.build(), job)).await.expect("took too long");
    done.expect("a good worker").verdict
}

#[derive(Clone)]
struct Factor(u64);

#[tokio::test]
async fn arguments_come_in_any_order() {
    async fn first(n: u64, State(factor): State<Factor>, job: JobCtx) -> Result<u64, String> {
        Ok(n * factor.0 + u64::from(job.attempt()))
    }
    async fn last(job: JobCtx, State(factor): State<Factor>, n: u64) -> Result<u64, String> {
        first(n, State(factor), job).await
    }
    for builder in [builder().handle("k", first), builder().handle("k", last)] {
        assert_eq!(verdict(builder.state(Factor(10)), job(4)).await, Verdict::result(&41));
    }
    assert_eq!(verdict(builder().handle("k", async || ()), job(())).await, Verdict::done());
    let blocking =
        builder().state(Factor(2)).handle_blocking(
            "k",
            |n: u64, State(f): State<Factor>| {
                if n > 0 { Ok(n * f.0) } else { Err("zero") }
            },
        );
    assert_eq!(verdict(blocking, job(4)).await, Verdict::result(&8));
}

#[tokio::test]
async fn return_values_become_verdicts() {
    async fn explicit(n: u8) -> Result<Verdict, std::fmt::Error> {
        match n {
            0 => Ok(Verdict::Snooze(Duration::from_secs(1))),
            _ => Err(std::fmt::Error),
        }
    }
    async fn by_error(n: u8) -> Result<u8, Verdict> {
        let text = if n == 0 { "x" } else { "7" };
        Ok(text.parse::<u8>()?)
    }
    assert_eq!(
        verdict(builder().handle("k", explicit), job(0)).await,
        Verdict::Snooze(Duration::from_secs(1))
    );
    assert!(matches!(verdict(builder().handle("k", explicit), job(1)).await, Verdict::Retry { .. }));
    assert_eq!(verdict(builder().handle("k", by_error), job(1)).await, Verdict::result(&7));
    assert!(matches!(verdict(builder().handle("k", by_error), job(0)).await,
        Verdict::Retry { error, .. } if error.contains("invalid digit")));
}

#[tokio::test]
async fn failures_of_every_sort_are_failed_attempts() {
    let error = |verdict: Verdict| match verdict {
        Verdict::Retry { error, retry_in: None } => error,
        other => panic!("expected a failed attempt, got {other:?}"),
    };
    async fn panics(n: u8) {
        assert!(n > 200, "{n} is too small");
    }
    let text = error(verdict(builder().handle("k", panics), job(3)).await);
    assert!(text.contains("panicked") && text.contains("3 is too small"), "{text}");

    let text = error(verdict(builder().handle("k", panics), job("three")).await);
    assert!(text.contains("the payload does not fit"), "{text}");

    let text = error(verdict(builder().handle("other", panics), job(3)).await);
    assert!(text.contains("no handler for the kind \"k\""), "{text}");

    let text =
        error(verdict(builder().handle_blocking("k", |n: u8| assert!(n > 200, "blocked")), job(3)).await);
    assert!(text.contains("blocked"), "{text}");
}

#[tokio::test]
async fn a_timeout_drops_the_future_and_tells_whoever_holds_the_context() {
    struct OnDrop(Arc<Mutex<bool>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            *self.0.lock().expect("no panic") = true;
        }
    }
    let (dropped, kept) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(None)));
    let (sentinel, keep) = (Arc::clone(&dropped), Arc::clone(&kept));
    let builder = builder().handle("k", async move |job: JobCtx| {
        let _sentinel = OnDrop(sentinel);
        *keep.lock().expect("no panic") = Some(job);
        std::future::pending::<()>().await;
    });
    let ended = verdict(builder, job(()).timeout(Duration::from_millis(20))).await;
    assert!(matches!(ended, Verdict::Retry { error, .. } if error.contains("timeout of 20ms")));
    assert!(*dropped.lock().expect("no panic"), "the future was not dropped");
    assert!(kept.lock().expect("no panic").as_ref().expect("ran").is_cancelled());
}

#[tokio::test]
async fn layers_stand_around_handlers_and_their_errors_are_failed_attempts() {
    let count = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let count = Arc::clone(&count);
        layer_fn(move |inner: JobService| {
            let count = Arc::clone(&count);
            service_fn(move |job: JobCtx| {
                count.lock().expect("no panic").push(name);
                inner.clone().oneshot(job)
            })
        })
    };
    let ended =
        verdict(builder().layer(note("inner")).handle("k", async || ()).layer(note("outer")), job(())).await;
    assert_eq!((ended, &**count.lock().expect("no panic")), (Verdict::done(), &["outer", "inner"][..]));

    let refuse =
        layer_fn(|_: JobService| service_fn(async |_: JobCtx| Err::<Verdict, BoxError>("not today".into())));
    let ended = verdict(builder().handle("k", async || ()).layer(refuse), job(())).await;
    assert_eq!(ended, Verdict::retry("not today"));
}

#[tokio::test]
async fn mistakes_are_told_before_the_first_job() {
    async fn needs(State(_): State<Factor>) {}
    let cases = [
        (builder().handle("k", needs), "no state of type"),
        (builder().handle("k", async || ()).handle_blocking("k", || ()), "two handlers"),
        (builder().concurrency(0), "concurrency"),
        (builder().queue_weight("low", 0), "weight 0"),
    ];
    for (builder, part) in cases {
        let error = builder.build().run().await.expect_err("a mistake");
        assert!(matches!(&error, Error::Setup(text) if text.contains(part)), "{error}");
    }
}

/// Runs a handler and stops it for `reason` as soon as it runs.
async fn stopped(reason: StopReason, cooperative: bool) -> Option<wire::Verdict> {
    let handler = JobService::from_async(async move |job: JobCtx| {
        if cooperative {
            job.cancelled().await;
            return Err::<(), _>("stopped");
        }
        std::future::pending().await
    });
    let registry = Registry {
        handlers: HashMap::from([("k".to_owned(), handler)]),
        cancel_grace: if cooperative { PATIENCE } else { Duration::ZERO },
    };
    let (progress, _notes) = mpsc::channel(1);
    let (outcomes, mut ends) = mpsc::channel(1);
    let running = Running {
        delivery: delivery(1, "k", "null"),
        stop: Stop::default(),
        deadline: None,
        states: Arc::new(States::default()),
        progress,
    };
    let job = JobCtx::new(Arc::new(running));
    tokio::spawn(execute(Arc::new(registry), Slot::new(job.clone(), outcomes)));
    tokio::task::yield_now().await;
    job.running().stop.raise(reason);
    let ended = tokio::time::timeout(PATIENCE, ends.recv()).await.expect("took too long");
    ended.expect("every job has an end").verdict
}

#[tokio::test]
async fn a_stopped_handler_is_reported_for_what_stopped_it() {
    let cancelled = stopped(StopReason::Cancelled, true).await;
    assert!(matches!(cancelled, Some(wire::Verdict::Cancelled { reason }) if reason.contains("stopped")));
    let dropped = stopped(StopReason::Cancelled, false).await;
    assert!(matches!(dropped, Some(wire::Verdict::Cancelled { .. })));
    assert_eq!(stopped(StopReason::Shutdown, true).await, Some(wire::Verdict::Released));
    assert_eq!(stopped(StopReason::Now, false).await, Some(wire::Verdict::Released));
    assert_eq!(stopped(StopReason::LeaseLost, true).await, None);
}

#[tokio::test]
async fn a_task_that_is_dropped_gives_its_job_back() {
    let (progress, _notes) = mpsc::channel(1);
    let (outcomes, mut ends) = mpsc::channel(1);
    let states = Arc::new(States::default());
    let running = Running {
        delivery: delivery(1, "k", "null"),
        stop: Stop::default(),
        deadline: None,
        states,
        progress,
    };
    drop(Slot::new(JobCtx::new(Arc::new(running)), outcomes));
    assert_eq!(ends.recv().await.expect("an end").verdict, Some(wire::Verdict::Released));
}

#[tokio::test]
async fn progress_is_told_in_order_and_clipped() {
    let worker = builder()
        .handle("k", async |job: JobCtx| {
            job.progress(10, "begun").await;
            job.try_progress(200, "x".repeat(10_000));
        })
        .build();
    let Performed { progress, .. } = perform(&worker, job(())).await.expect("a good worker");
    assert_eq!(progress[0], (10, "begun".to_owned()));
    assert_eq!(progress[1].0, 100);
    assert!(progress[1].1.len() <= windlass_core::limits::PROGRESS_BYTES_MAX);
}
