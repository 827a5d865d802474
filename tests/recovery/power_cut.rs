//! A power cut at any moment loses nothing that was confirmed, and the store always opens.
//!
//! The cut is emulated where the file system ends: an ext4 on a loop device is shut down without writing its own journal
//! out, so that whatever was not synced is gone.

use std::path::Path;
use std::time::Duration;

use windlass_scheduler::store::open;

use crate::support::{Mount, Random, from_env, run};
use crate::writer::{Plan, Writer};

/// Payloads of the rounds, in turn.
const PAYLOADS: [usize; 3] = [200, 20_000, 1_000_000];
/// Size of the file system; the file behind it is sparse.
const DISK: &str = "1500M";

#[test]
fn a_power_cut_loses_nothing() {
    let mut random = Random::new("power cut");
    let dir = tempfile::tempdir().unwrap();
    let cuts = from_env("WINDLASS_POWER_CUTS").unwrap_or(6);
    let mut counts = [0; PAYLOADS.len()];
    for (which, payload) in PAYLOADS.into_iter().enumerate() {
        let image = dir.path().join(format!("disk-{payload}"));
        if let Err(reason) = make_disk(&image) {
            println!("SKIPPED: no power cuts: {reason}");
            return;
        }
        let mut confirmed = 0;
        for _ in 0..cuts.div_ceil(PAYLOADS.len() as u64) {
            match cut(&image, &dir.path().join("mount"), Plan { payload }, &mut random, &mut confirmed) {
                Ok(()) => counts[which] += 1,
                Err(reason) => {
                    println!("SKIPPED: no power cuts: {reason}");
                    return;
                }
            }
        }
        println!("power cut: payload {payload}, {} cuts, {confirmed} batches confirmed", counts[which]);
    }
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
) -> Result<(), String> {
    let image = image.to_str().expect("temporary directories have plain names");
    let mut disk = Mount::new(mount, &["-o", "loop", image])?;
    let data = disk.dir.join("data");
    let writer = Writer::start(&data, plan);
    *confirmed = writer.first_ack().max(*confirmed);
    std::thread::sleep(Duration::from_millis(random.below(1_500)));
    shut_down(&disk.dir)?;
    *confirmed = writer.kill().unwrap_or(0).max(*confirmed);
    disk.unmount();
    let mut disk = Mount::new(mount, &["-o", "loop", image])?;
    let store = open(&plan.config(&data)).unwrap_or_else(|error| panic!("the store does not open: {error}"));
    let mark = plan.check(store.as_ref());
    assert!(mark >= *confirmed, "confirmed up to {confirmed}, found up to {mark}");
    drop(store);
    disk.unmount();
    Ok(())
}

/// Shuts an ext4 down as if the power had gone: nothing more reaches the device, its own journal included.
fn shut_down(mount: &Path) -> Result<(), String> {
    // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH. An ioctl needs unsafe code in Rust, and perl is everywhere.
    const SCRIPT: &str = r#"open(my $f, "<", $ARGV[0]) or die $!; my $how = pack("I", 2); ioctl($f, 0x8004587d, $how) or die "ioctl: $!";"#;
    run("perl", &["-e", SCRIPT, mount.to_str().expect("temporary directories have plain names")])
}
