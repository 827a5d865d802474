//! Goal: a defect that panics somewhere in the server is never a silent hang. Method: a panic in every part. A part that the node cannot
//! do without takes the node with it, so that a supervisor starts it again; a session breaks alone. A restart finds everything.

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
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(8) && field.server.process().is_running()? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
    let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
    let parts = [
        (Point::JournalAfterWrite, Outcome::Ended),
        (Point::WriterBeforeTell, Outcome::Ended),
        (Point::QueueBeforeSubmit, Outcome::Ended),
        (Point::QueueBeforeRelease, Outcome::Ended),
        (Point::ScheduleBeforeFire, Outcome::Ended),
        (Point::ScheduleAfterCommit, Outcome::Ended),
        (Point::SessionBeforeWrite, Outcome::Serves),
        (Point::SessionAfterWrite, Outcome::Serves),
    ];
    for (point, expected) in parts {
        let begun = std::time::Instant::now();
        // Late enough that the start is over: each queue already submits its first batch in it.
        let passing =
            if matches!(point, Point::ScheduleBeforeFire | Point::ScheduleAfterCommit) { 3 } else { 60 };
        field.arm_server(&format!("{}=panic@{passing}", point.name()))?;
        let outcome = outcome(&mut field, &producer).await?;
        println!("{}: {outcome:?} after {:?}", point.name(), begun.elapsed());
        ensure!(outcome == expected, "a panic at {}: the server {outcome:?}", point.name());
        if outcome == Outcome::Ended {
            let signal = field.server_died(PATIENCE).await?;
            ensure!(signal.is_none(), "{}: the server was ended by signal {signal:?}", point.name());
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
    ensure!(report.confirmed > 100, "the test tested little: {report}");
    Ok(())
}
