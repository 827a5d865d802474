//! One job from a client to a worker and its result back.
//!
//! `cargo run -p windlass-examples --example hello_world`

use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Job, Worker};

async fn greet(name: String) -> Result<String, std::convert::Infallible> {
    Ok(format!("hello, {name}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let queue = fresh_queue("hello");

    let client = Client::connect(server.address()).await?;
    let job = client.enqueue(Job::new("greet", "world")?.queue(&queue)).await?;
    println!("job {} is durable", job.id);

    let worker = Worker::builder(server.address()).queues([&queue]).handle("greet", greet).build();
    let running = tokio::spawn(worker.run_until(async move {
        // Ends when the client has what it wanted.
        let answer: String = client.wait(job.id, PATIENCE).await.expect("the job succeeds");
        println!("{answer}");
        assert_eq!(answer, "hello, world");
    }));
    running.await??;
    Ok(())
}
