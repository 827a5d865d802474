//! The soak itself: load, faults, samples every ten seconds, rest, judgement.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use windlass_tests::check::{self, Options};
use windlass_tests::disk::Disk;
use windlass_tests::dump::Dump;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::load::{Load, Mix, Seen};
use windlass_worker::Client;

use crate::Wanted;
use crate::nemesis::Nemesis;
use crate::verdict::{Figures, Sample, Verdict};

/// Time between progress lines.
const PROGRESS: Duration = Duration::from_secs(10);
/// The small disk, in MiB: large enough that only the filler fills it.
const DISK_MIB: u32 = 512;
/// Files of the history; each is read as a whole when it is judged.
const PARTS: usize = 64;
/// Calm time at both ends.
const CALM: Duration = Duration::from_secs(5);
/// Share of the time in which the server itself is killed; in the rest its memory is watched.
const STORM_SHARE: f64 = 0.67;
/// Longest time until everything has ended.
const REST: Duration = Duration::from_secs(600);

/// Runs a soak to its verdict.
pub(crate) async fn run(wanted: &Wanted) -> Result<Verdict> {
    fs::create_dir_all(&wanted.out)?;
    let disk = Disk::mount(DISK_MIB).inspect_err(|why| println!("SKIP full disks: {why}")).ok();
    let queues = vec!["alpha".to_owned(), "beta".to_owned(), "gamma".to_owned()];
    let data_dir = disk.as_ref().map(|disk| disk.path().join("data"));
    let mut field = Field::start(FieldPlan {
        queues: queues.clone(),
        workers: 3,
        concurrency: 64,
        data_dir,
        parts: PARTS,
        ..FieldPlan::default()
    })?;
    println!("history {}, data {}", field.history_dir().display(), field.data_dir().display());
    let client = Client::connect(field.server.address()).await?;
    field.schedule(&client, &[1, 3]).await?;
    let mix =
        Mix { queues, rate: wanted.rate, producers: 8, padding: 200, long_ms: 4_000, seed: wanted.seed };
    let load = Load::start(&field.server.address(), &field.recorder, &mix).await?;
    let mut samples = Vec::new();
    let mut nemesis = Nemesis::new(SmallRng::seed_from_u64(wanted.seed));
    let struck = storm(&mut field, &mut nemesis, disk.as_ref(), wanted.time, &load.seen, &mut samples).await;
    let ended = match struck {
        Ok(()) => end(&mut field, &mut nemesis, load, &client, &mut samples).await,
        Err(error) => Err(error),
    };
    let seen = match ended {
        Ok(seen) => seen,
        Err(error) => {
            let kept = field.keep_history();
            return Err(error.context(format!("the history is kept in {}", kept.display())));
        }
    };
    judge(field, nemesis, &client, &seen, samples, wanted).await
}

/// Faults until the time is over.
async fn storm(
    field: &mut Field,
    nemesis: &mut Nemesis,
    disk: Option<&Disk>,
    time: Duration,
    seen: &Seen,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let begun = Instant::now();
    let mut told = Instant::now();
    tokio::time::sleep(CALM.min(time / 4)).await;
    samples.push(sample(field, begun, seen)?);
    while begun.elapsed() < time {
        if !nemesis.mild && begun.elapsed() > time.mul_f64(STORM_SHARE) {
            // From here on one server lives to the end, and nothing armed is left.
            nemesis.calm_down(field)?;
        }
        tokio::time::sleep(nemesis.calm().min(time / 8)).await;
        let last = nemesis.strike(field, disk).await?;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            nemesis.revive(field)?;
            // A point that was armed may strike just now; then there is nothing to look at.
            let Ok(sample) = sample(field, begun, seen) else { continue };
            println!("{sample}, {} faults, last {last}", nemesis.done.values().sum::<u64>());
            samples.push(sample);
        }
    }
    Ok(())
}

fn sample(field: &mut Field, begun: Instant, seen: &Seen) -> Result<Sample> {
    let dir = field.data_dir();
    let process = field.server.process();
    let handles = fs::read_dir(format!("/proc/{}/fd", process.pid()))?.count();
    Ok(Sample {
        pid: process.pid(),
        at: begun.elapsed(),
        resident: process.resident_bytes()?,
        handles: handles as u64,
        disk: used(&dir).context("the size of the data directory")?,
        confirmed: seen.confirmed.load(Ordering::Relaxed),
        errors: seen.errors.load(Ordering::Relaxed),
    })
}

/// Bytes that the files of a directory take.
fn used(dir: &std::path::Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // What goes away while it is looked at takes nothing.
        let Ok(figures) = fs::symlink_metadata(&path) else { continue };
        sum += if figures.is_dir() { used(&path).unwrap_or(0) } else { figures.blocks() * 512 };
    }
    Ok(sum)
}

/// No more faults: a calm load for a while, then rest.
async fn end(
    field: &mut Field,
    nemesis: &mut Nemesis,
    load: Load,
    client: &Client,
    samples: &mut Vec<Sample>,
) -> Result<std::sync::Arc<Seen>> {
    nemesis.revive(field)?;
    client.connected().await;
    tokio::time::sleep(CALM).await;
    let begun = Instant::now()
        .checked_sub(samples.last().map_or(CALM, |sample| sample.at))
        .unwrap_or_else(Instant::now);
    samples.push(sample(field, begun, &load.seen)?);
    let seen = load.stop().await?;
    field.rest(client, REST).await?;
    Ok(seen)
}

async fn judge(
    field: Field,
    nemesis: Nemesis,
    client: &Client,
    seen: &Seen,
    samples: Vec<Sample>,
    wanted: &Wanted,
) -> Result<Verdict> {
    let dump = Dump::take(client).await?;
    let options = Options { torn_max: field.kills, ..Options::default() };
    let begun = Instant::now();
    let report = check::check(field.history_dir(), dump, &options)?;
    println!("judged in {:?}", begun.elapsed());
    let mut figures = Figures::of(&samples, &nemesis.done, seen);
    figures.seconds = wanted.time.as_secs();
    figures.seed = wanted.seed;
    figures.kills = field.kills as u64;
    let verdict = Verdict { report, figures, samples };
    if !verdict.holds() {
        println!("the history is kept in {}", field.keep_history().display());
    }
    Ok(verdict)
}
