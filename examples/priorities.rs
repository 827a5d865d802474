//! Order: within a queue by priority, then by arrival; between queues strictly or by weight.
//!
//! `cargo run -p windlass-examples --example priorities`

use std::sync::{Arc, Mutex};

use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Job, State, Worker};

type Order = Arc<Mutex<Vec<String>>>;

async fn note(name: String, State(order): State<Order>) {
    order.lock().expect("no panic while it is held").push(name);
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (critical, default) = (fresh_queue("critical"), fresh_queue("default"));
    let client = Client::connect(server.address()).await?;

    // No worker is there yet, so that all of them wait when the first one is taken.
    let jobs = [
        (&default, 0, "first of the default queue"),
        (&default, 5, "urgent in the default queue"),
        (&default, 0, "second of the default queue"),
        (&critical, -3, "unimportant in the critical queue"),
        (&critical, 0, "first of the critical queue"),
    ];
    let mut ids = Vec::new();
    for (queue, priority, name) in jobs {
        ids.push(client.enqueue(Job::new("note", name)?.queue(queue).priority(priority)).await?.id);
    }

    let order = Order::default();
    let worker = Worker::builder(server.address())
        .queues([&critical, &default])
        .strict()
        .concurrency(1)
        .state(Arc::clone(&order))
        .handle("note", note)
        .build();
    worker
        .run_until(async {
            for id in ids {
                client.wait_end(id, PATIENCE).await.expect("every job ends");
            }
        })
        .await?;

    let order = order.lock().expect("no panic while it is held").clone();
    order.iter().enumerate().for_each(|(n, name)| println!("{}. {name}", n + 1));
    let expected = [
        "first of the critical queue",
        "unimportant in the critical queue",
        "urgent in the default queue",
        "first of the default queue",
        "second of the default queue",
    ];
    assert_eq!(order, expected);
    Ok(())
}
