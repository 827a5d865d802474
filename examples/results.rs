//! Results, progress and errors: what a caller sees of a job.
//!
//! `cargo run -p windlass-examples --example results`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Error, JobCtx, JobKind, JobState, Worker};

/// Payload and kind in one type, so that producer and handler cannot disagree.
#[derive(Serialize, Deserialize)]
struct Factorise {
    number: u64,
}

impl JobKind for Factorise {
    const KIND: &'static str = "factorise";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Factors {
    primes: Vec<u64>,
}

async fn factorise(Factorise { mut number }: Factorise, job: JobCtx) -> Result<Factors, String> {
    if number == 0 {
        return Err("0 has no factors".to_owned());
    }
    let (mut primes, mut candidate) = (Vec::new(), 2);
    while number > 1 {
        while number % candidate == 0 {
            primes.push(candidate);
            number /= candidate;
            job.progress(50, format!("found {candidate}")).await;
        }
        candidate += 1;
    }
    Ok(Factors { primes })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let queue = fresh_queue("results");
    let client = Client::connect(server.address()).await?;
    let worker = Worker::builder(server.address())
        .queues([&queue])
        .handle(Factorise::KIND, factorise)
        .name("mathematician");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(worker.build().run_until(async {
        let _ = stopped.await;
    }));

    // Kept durably for an hour, whatever else the queue does meanwhile.
    let job = Factorise { number: 360 }.job().queue(&queue).retention(Duration::from_secs(3_600));
    let id = client.enqueue(job).await?.id;
    let factors: Factors = client.wait(id, PATIENCE).await?;
    println!("360 = {:?}", factors.primes);
    assert_eq!(factors, Factors { primes: vec![2, 2, 2, 3, 3, 5] });

    let view = client.status(id).await?.expect("its result is kept");
    println!("{} by {} at attempt {}", view.state, view.attempts[0].worker_name, view.attempt);
    assert_eq!((view.state, view.attempts[0].worker_name.as_str()), (JobState::Succeeded, "mathematician"));

    let id = client.enqueue(Factorise { number: 0 }.job().queue(&queue).max_attempts(1)).await?.id;
    let error = client.wait::<Factors>(id, PATIENCE).await.expect_err("0 has no factors");
    println!("{error}");
    assert!(
        matches!(error, Error::JobFailed { state: JobState::Dead, reason, .. } if reason.contains("no factors"))
    );

    let id = client.enqueue(Factorise { number: 7 }.job().queue(&queue)).await?.id;
    let error = client.wait::<String>(id, PATIENCE).await.expect_err("the result is no string");
    assert!(matches!(error, Error::Decode { .. }), "{error}");

    let _ = stop.send(());
    running.await??;
    Ok(())
}
