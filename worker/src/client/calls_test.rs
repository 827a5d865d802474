//! Frames and answers without any socket.

use super::*;
use crate::client::Connection;
use crate::client::budget::Budget;
use tokio::sync::watch;
use windlass_core::id::JobId;
use windlass_core::job::Payload;
use windlass_core::limits;
use windlass_core::wire::{decode_exact, next_frame};

struct Bench {
    calls: Calls,
    budget: Budget,
    connection: watch::Sender<Connection>,
}

type Answer = oneshot::Receiver<Result<Vec<Enqueued>, Bounced>>;

impl Bench {
    fn new() -> Bench {
        let connection = watch::Sender::new(Connection::Away { reason: "test".to_owned() });
        Bench { calls: Calls::default(), budget: Budget::new(100_000, 1 << 26), connection }
    }

    async fn enqueue(&mut self, queue: &str, numbers: &[u8]) -> Answer {
        let jobs = numbers.iter().map(|n| spec(*n)).collect::<Vec<_>>();
        let hold = self.budget.hold(jobs.len(), 100, &self.connection).await.expect("room");
        let (reply, answer) = oneshot::channel();
        self.calls.accept(Submit::Enqueue { queue: name(queue), jobs, reply, hold });
        answer
    }

    async fn call(&mut self, body: Request) -> oneshot::Receiver<Result<Response, Error>> {
        let hold = self.budget.hold(1, 100, &self.connection).await.expect("room");
        let (reply, answer) = oneshot::channel();
        self.calls.accept(Submit::Call { body: Box::new(body), reply, hold });
        answer
    }

    /// What would be written now.
    fn written(&mut self) -> Vec<(u64, Request)> {
        let mut out = BytesMut::new();
        self.calls.write(&mut out, usize::MAX, limits::FRAME_BYTES_MAX);
        let mut frames = Vec::new();
        while let Some(body) = next_frame(&mut out, limits::FRAME_BYTES_MAX).expect("sound") {
            match decode_exact(&body).expect("a client frame") {
                ClientFrame::Call { request, body } => frames.push((request, body)),
                other => panic!("expected a call, got {other:?}"),
            }
        }
        frames
    }
}

fn name(queue: &str) -> QueueName {
    QueueName::new(queue).expect("a good name")
}

fn spec(number: u8) -> JobSpec {
    JobSpec { id: Some(JobId([number; 16])), ..JobSpec::new("k", Payload::json(&b"1"[..])) }
}

fn ids(request: &Request) -> Vec<u8> {
    let Request::Enqueue { jobs, .. } = request else { panic!("expected an enqueue") };
    jobs.iter().map(|job| job.id.expect("an id").0[0]).collect()
}

fn taken(numbers: &[u8]) -> Result<Response, ApiError> {
    Ok(Response::Enqueued(
        numbers.iter().map(|n| Enqueued { id: JobId([*n; 16]), duplicate: false }).collect(),
    ))
}

fn first_ids(answer: &mut Answer) -> Vec<u8> {
    let answers = answer.try_recv().expect("answered").expect("taken");
    answers.iter().map(|a| a.id.0[0]).collect()
}

#[tokio::test]
async fn enqueues_of_one_queue_share_a_frame_and_keep_their_answers() {
    let mut bench = Bench::new();
    let mut one = bench.enqueue("a", &[1]).await;
    let mut other_queue = bench.enqueue("b", &[2]).await;
    let mut two = bench.enqueue("a", &[3, 4]).await;

    let frames = bench.written();
    assert_eq!(frames.iter().map(|(_, request)| ids(request)).collect::<Vec<_>>(), [vec![1, 3, 4], vec![2]]);

    bench.calls.answer(frames[0].0, taken(&[1, 3, 4]), Instant::now());
    assert_eq!((first_ids(&mut one), first_ids(&mut two)), (vec![1], vec![3, 4]));
    assert!(other_queue.try_recv().is_err(), "the other frame is not answered yet");
    bench.calls.answer(frames[1].0, taken(&[2]), Instant::now());
    assert_eq!(first_ids(&mut other_queue), [2]);
    assert!(bench.calls.is_empty());
    assert_eq!(bench.budget.used(), (0, 0), "the budget is given back");
}

#[tokio::test]
async fn a_written_frame_takes_no_more_jobs() {
    let mut bench = Bench::new();
    let _one = bench.enqueue("a", &[1]).await;
    assert_eq!(bench.written().len(), 1);
    let _two = bench.enqueue("a", &[2]).await;
    assert_eq!(ids(&bench.written()[0].1), [2]);
}

#[tokio::test]
async fn a_bad_job_does_not_punish_strangers() {
    let mut bench = Bench::new();
    let mut good = bench.enqueue("a", &[1]).await;
    let mut bad = bench.enqueue("a", &[2]).await;
    let frames = bench.written();
    let refusal = || Err(ApiError::new(ErrorCode::Invalid, "job 1 of the batch: no"));
    bench.calls.answer(frames[0].0, refusal(), Instant::now());

    let again = bench.written();
    assert_eq!(again.iter().map(|(_, request)| ids(request)).collect::<Vec<_>>(), [vec![1], vec![2]]);
    bench.calls.answer(again[0].0, taken(&[1]), Instant::now());
    bench.calls.answer(again[1].0, refusal(), Instant::now());
    assert_eq!(first_ids(&mut good), [1]);
    let bounced = bad.try_recv().expect("answered").expect_err("refused");
    assert_eq!((bounced.error.code(), bounced.jobs), (Some(ErrorCode::Invalid), vec![spec(2)]));
}

#[tokio::test]
async fn a_lost_connection_repeats_what_is_safe_and_tells_the_rest() {
    let mut bench = Bench::new();
    let mut enqueued = bench.enqueue("a", &[1]).await;
    let mut listed = bench.call(Request::ListQueues).await;
    let mut triggered = bench.call(Request::TriggerSchedule { name: "s".to_owned() }).await;
    assert_eq!(bench.written().len(), 3);
    let mut unwritten = bench.call(Request::TriggerSchedule { name: "t".to_owned() }).await;

    bench.calls.disconnected();
    assert!(matches!(triggered.try_recv(), Ok(Err(Error::AnswerLost))));
    let again = bench.written();
    assert_eq!(again.len(), 3, "the enqueue, the list, and the trigger that was never sent: {again:?}");
    assert_eq!(ids(&again[0].1), [1]);
    assert!(enqueued.try_recv().is_err() && listed.try_recv().is_err() && unwritten.try_recv().is_err());
}

#[tokio::test]
async fn busy_is_waited_out_and_then_told() {
    let mut bench = Bench::new();
    let mut answer = bench.enqueue("a", &[1]).await;
    let busy =
        || Err(ApiError { code: ErrorCode::Busy, message: "full".to_owned(), retry_after_ms: Some(40) });
    let number = bench.written()[0].0;
    let begin = Instant::now();
    bench.calls.answer(number, busy(), begin);
    assert_eq!(bench.calls.next_retry(), Some(begin + Duration::from_millis(40)));
    bench.calls.wake(begin + Duration::from_millis(39));
    assert_eq!(bench.written(), []);
    bench.calls.wake(begin + Duration::from_millis(40));
    assert_eq!(bench.written().len(), 1);
    bench.calls.answer(number, busy(), begin + BUSY_PATIENCE);
    let bounced = answer.try_recv().expect("answered").expect_err("still busy");
    assert_eq!(bounced.error.code(), Some(ErrorCode::Busy));
}

#[tokio::test]
async fn frames_have_limits() {
    let mut bench = Bench::new();
    let mut answers = Vec::new();
    for _ in 0..FRAME_JOBS_MAX + 1 {
        answers.push(bench.enqueue("a", &[1]).await);
    }
    let counts: Vec<usize> = bench.written().iter().map(|(_, request)| ids(request).len()).collect();
    assert_eq!(counts, [FRAME_JOBS_MAX, 1]);

    let mut answer = bench.enqueue("a", &[1]).await;
    let mut out = BytesMut::new();
    bench.calls.write(&mut out, usize::MAX, 8);
    assert!(out.is_empty(), "a frame that the server would not take is not sent");
    assert_eq!(
        answer.try_recv().expect("answered").expect_err("refused").error.code(),
        Some(ErrorCode::TooLarge)
    );
}
