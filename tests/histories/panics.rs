//! Goal: a defect that panics somewhere in the server is never a silent hang. Method: a panic at points in every part; the server either
//! goes on, or says that it does not, and a restart finds everything that was confirmed.

use std::time::Duration;

use anyhow::{Result, ensure};
use windlass_scheduler::fault::Point;
use windlass_tests::check::Options;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::load::{Load, Mix};
use windlass_tests::producer::Producer;
use windlass_tests::script::Work;
use windlass_worker::Client;

/// Time after which a call without any answer counts as a hang.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time until everything has ended after the last fault.
const REST: Duration = Duration::from_secs(120);

/// What became of the service after a panic.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    Serves,
    Refuses(String),
    Hangs,
}

async fn outcome(field: &mut Field, producer: &Producer) -> Result<Outcome> {
    // The panic comes under the load; whatever follows is judged a moment later.
    tokio::time::sleep(Duration::from_secs(3)).await;
    if !field.server.process().is_running()? {
        return Ok(Outcome::Ended);
    }
    let work = Work::plain("default");
    let asked = tokio::time::timeout(PATIENCE, producer.enqueue(&work)).await;
    Ok(match asked {
        _ if !field.server.process().is_running()? => Outcome::Ended,
        Ok(Ok(_)) => Outcome::Serves,
        Ok(Err(error)) => Outcome::Refuses(error.to_string()),
        Err(_) => Outcome::Hangs,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_never_a_silent_hang() -> Result<()> {
    let mut field = Field::start(FieldPlan::default())?;
    let client = Client::connect(field.server.address()).await?;
    field.schedule(&client, &[1]).await?;
    let mix = Mix { rate: 100, producers: 2, ..Mix::default() };
    let load = Load::start(&field.server.address(), &field.recorder, &mix).await?;
    let mut hangs = Vec::new();
    let points = [
        Point::JournalAfterWrite,
        Point::WriterBeforeTell,
        Point::QueueBeforeSubmit,
        Point::QueueBeforeRelease,
        Point::SessionBeforeWrite,
        Point::ScheduleBeforeFire,
        Point::ScheduleAfterCommit,
    ];
    for point in points {
        field.arm_server(&format!("{}=panic@3", point.name()))?;
        let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
        let outcome = outcome(&mut field, &producer).await?;
        println!("{}: {outcome:?}", point.name());
        if outcome == Outcome::Hangs {
            hangs.push(point.name());
        }
        if outcome == Outcome::Ended {
            field.server_died(PATIENCE).await?;
            field.restart_server()?;
        } else {
            field.kill_server()?;
        }
    }
    client.connected().await;
    load.stop().await?;
    field.rest(&client, REST).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!("{report}");
    ensure!(hangs.is_empty(), "after a panic at {} nobody is answered", hangs.join(", "));
    Ok(())
}
