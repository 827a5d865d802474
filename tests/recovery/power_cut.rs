//! A power cut at any moment loses nothing that was confirmed, and the store always opens.
//!
//! The cut is emulated where the file system ends: an ext4 on a loop device is shut down without writing its own journal
//! out, so that whatever was not synced is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use windlass_scheduler::store::open;

use crate::support::{Mount, Random, from_env, run};
use crate::writer::{Plan, Writer};

/// Payloads of the rounds, in turn.
const PAYLOADS: [usize; 3] = [200, 20_000, 1_000_000];
/// Size of the file system; the file behind it is sparse.
const DISK: &str = "1500M";

/// Cuts between two lines about the progress.
const PROGRESS: u64 = 10;

/// What the cuts have done.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    /// Jobs that were confirmed, over all cuts.
    confirmed: u64,
    /// Of these, how many were not there afterwards.
    lost: u64,
    /// Stores that held something else than what their last job says, and those that did not open.
    wrong: u64,
    unopened: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { cuts, confirmed, lost, wrong, unopened } = self;
        write!(
            f,
            "{cuts} cuts, {confirmed} jobs confirmed, {lost} lost, {wrong} stores wrong, {unopened} that did not open"
        )
    }
}

#[test]
fn a_power_cut_loses_nothing() {
    let mut random = Random::new("power cut");
    let dir = tempfile::tempdir().unwrap();
    let rounds = from_env("WINDLASS_POWER_CUTS").unwrap_or(6).div_ceil(PAYLOADS.len() as u64);
    let mut total = Tally::default();
    for payload in PAYLOADS {
        let image = dir.path().join(format!("disk-{payload}"));
        let mut tally = Tally::default();
        let mut run = || {
            make_disk(&image)?;
            let mut confirmed = 0;
            for round in 1..=rounds {
                cut(
                    &image,
                    &dir.path().join("mount"),
                    Plan { payload },
                    &mut random,
                    &mut confirmed,
                    &mut tally,
                )?;
                if round % PROGRESS == 0 && round < rounds {
                    println!("power cut: payload {payload}, so far {tally}");
                }
            }
            Ok::<_, String>(())
        };
        let outcome = run();
        println!("power cut: payload {payload}: {tally}");
        total.cuts += tally.cuts;
        total.confirmed += tally.confirmed;
        total.lost += tally.lost;
        total.wrong += tally.wrong;
        total.unopened += tally.unopened;
        if let Err(reason) = outcome {
            println!("SKIP({reason}): no power cuts with payloads of {payload} bytes or more");
            break;
        }
    }
    println!("power cut: payloads of {PAYLOADS:?} bytes: {total}");
    assert_eq!((total.lost, total.wrong, total.unopened), (0, 0, 0), "{total}");
}

fn make_disk(image: &Path) -> Result<(), String> {
    let image = image.to_str().expect("temporary directories have plain names");
    run("truncate", &["-s", DISK, image])?;
    run("mkfs.ext4", &["-q", "-F", image])
}

/// Lets a writer write, cuts the power, and looks at what is there when it is back.
fn cut(
    image: &Path,
    mount: &Path,
    plan: Plan,
    random: &mut Random,
    confirmed: &mut u64,
    tally: &mut Tally,
) -> Result<(), String> {
    let file = image.to_str().expect("temporary directories have plain names");
    let mut disk = Mount::new(mount, &["-o", "loop", file])?;
    let data = disk.dir.join("data");
    let before = *confirmed;
    let writer = Writer::start(&data, plan);
    *confirmed = writer.first_ack().max(*confirmed);
    std::thread::sleep(Duration::from_millis(random.below(1_500)));
    shut_down(&disk.dir)?;
    *confirmed = writer.kill().unwrap_or(0).max(*confirmed);
    disk.unmount();
    let mut disk = Mount::new(mount, &["-o", "loop", file])?;
    tally.cuts += 1;
    tally.confirmed += *confirmed - before;
    let found = open(&plan.config(&data)).map(|store| {
        // What is missing in the middle fails an assertion there, which names it.
        catch_unwind(AssertUnwindSafe(|| plan.check(store.as_ref())))
    });
    match found {
        Ok(Ok(mark)) => {
            tally.lost += confirmed.saturating_sub(mark);
            *confirmed = mark;
        }
        Ok(Err(_)) => tally.wrong += 1,
        Err(error) => {
            println!("power cut: the store does not open: {error}");
            tally.unopened += 1;
        }
    }
    disk.unmount();
    if tally.wrong + tally.unopened > 0 {
        // The next round needs a store that it can trust.
        make_disk(image)?;
        *confirmed = 0;
    }
    Ok(())
}

/// Shuts an ext4 down as if the power had gone: nothing more reaches the device, its own journal included.
fn shut_down(mount: &Path) -> Result<(), String> {
    // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. An ioctl needs unsafe code in Rust, and perl is everywhere.
    const SCRIPT: &str = r#"open(my $f, "<", $ARGV[0]) or die $!; my $how = pack("I", 2); ioctl($f, 0x8004587d, $how) or die "ioctl: $!";"#;
    run("perl", &["-e", SCRIPT, mount.to_str().expect("temporary directories have plain names")])
}
