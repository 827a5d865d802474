//! Goal: a store that has filled its own disk comes back when its jobs are done, without anybody's help. Method: a backlog on a small disk
//! until it is refused, then workers; the refusal has to end. Skipped where no small disk can be mounted.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use windlass_tests::check::Options;
use windlass_tests::disk::Disk;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::producer::Producer;
use windlass_tests::script::Work;
use windlass_worker::{Client, Error, ErrorCode};

/// Bytes of a job.
const BYTES: usize = 32 * 1024;
/// Jobs that surely do not fit.
const JOBS_MAX: usize = 8_192;
/// Longest time until new work is taken again.
const BACK: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_filled_its_disk_comes_back() -> Result<()> {
    let disk = match Disk::mount(128) {
        Ok(disk) => disk,
        Err(why) => {
            println!("SKIP(no small disk can be mounted: {why})");
            return Ok(());
        }
    };
    let data_dir = Some(disk.path().join("data"));
    let mut field = Field::start(FieldPlan { data_dir, workers: 0, ..FieldPlan::default() })?;
    let client = Client::connect(field.server.address()).await?;
    let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
    let heavy = || {
        let mut work = Work::plain("default");
        work.script.padding = "x".repeat(BYTES);
        work
    };
    let mut taken = 0;
    loop {
        match producer.enqueue(&heavy()).await {
            Ok(_) => taken += 1,
            Err(Error::Server(refusal)) if refusal.code == ErrorCode::StoreFull => break,
            Err(error) => return Err(error.into()),
        }
        ensure!(taken < JOBS_MAX, "more was taken than fits");
    }
    println!("{taken} jobs of {} KiB fit on 128 MiB", BYTES / 1024);
    field.add_worker()?;
    let begun = Instant::now();
    while producer.enqueue(&heavy()).await.is_err() {
        if begun.elapsed() >= BACK {
            let store = client.overview().await?.store;
            bail!("all is done, new work is still refused, {} bytes are in use: {store:?}", disk.used()?);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("new work is taken after {:?}", begun.elapsed());
    field.rest(&client, BACK).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!("{report}");
    Ok(())
}
