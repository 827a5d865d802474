//! Every decoder that meets bytes from outside, over its seeds and over mutations of them: what is refused is refused, what is taken is
//! what it was, lengths that lie cost no memory, and nothing panics or hangs.
//!
//! - [`targets`], [`node_targets`]: the decoders and what each promises.
//! - [`mutate`]: how inputs are changed. [`seeds`]: what they are changed from, made of real encodings.
//!
//! `WINDLASS_DECODER_INPUTS` sets the number of mutations per decoder, `WINDLASS_SEED` repeats a run, `WINDLASS_DECODER` names
//! one decoder. The same functions run under libFuzzer with `just fuzz`.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests, and fail like them")]
#![expect(unreachable_pub, reason = "the fuzz targets use the same modules as a library")]

mod mutate;
#[path = "node_targets.rs"]
mod node_targets;
mod seeds;
#[path = "targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use peak_alloc::PeakAlloc;

use self::mutate::{Random, mutate};
use self::targets::steps::{Plant, planted_step};
use self::targets::{Target, memory_max};

/// Measures what a decoder allocates. The decoders run one after the other in one test, so that nobody else is measured.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
/// Held by each test, so that nobody measures another's memory.
static ALONE: Mutex<()> = Mutex::new(());

/// Mutations per decoder; some take a thousand times as long as others.
const INPUTS: &[(&str, u64)] = &[
    ("frame", 100_000),
    ("frame_stream", 40_000),
    ("schedule_record", 10_000),
    ("cron", 8_000),
    ("zone", 3_000),
    ("core_step", 15_000),
    ("journal", 6_000),
    ("damaged_journal", 6_000),
    ("config", 10_000),
    ("command_line", 1_500),
    ("http", 12_000),
    ("faktory", 30_000),
];
const INPUTS_OTHERWISE: u64 = 50_000;

fn all() -> impl Iterator<Item = &'static Target> {
    targets::CORE.iter().chain(node_targets::NODE)
}

/// Where a decoder's seeds are, for libFuzzer too.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)
}

fn seeds_of(name: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(corpus(name)).unwrap_or_else(|e| panic!("{name} has no seeds: {e}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Feeds one input and looks at what it has cost. The error says what is wrong.
fn feed(target: &Target, input: &[u8]) -> Result<(), String> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let run = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let peak = MEMORY.peak_usage().saturating_sub(before);
    run.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })?;
    match target.memory_factor {
        Some(factor) if peak > memory_max(factor, input.len()) => {
            Err(format!("{} bytes of input made it allocate {peak}", input.len()))
        }
        _ => Ok(()),
    }
}

fn report(target: &Target, input: &[u8], seed: u64, why: &str) -> ! {
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8_lossy(input);
    panic!("{} (WINDLASS_SEED={seed}): {why}\ninput as hex: {hex}\nand as text: {text:?}", target.name);
}

#[test]
fn decoders_keep_their_word() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("WINDLASS_SEED").unwrap_or_else(clock);
    let only = std::env::var("WINDLASS_DECODER").ok();
    println!("decoders: WINDLASS_SEED={seed}");
    let mut total = 0;
    for target in all().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let seeds = seeds_of(target.name);
        let mut random = Random(seed);
        let started = Instant::now();
        for input in &seeds {
            feed(target, input).unwrap_or_else(|why| report(target, input, seed, &why));
        }
        let preset = INPUTS
            .iter()
            .find(|(name, _)| *name == target.name)
            .map_or(INPUTS_OTHERWISE, |(_, count)| *count);
        let count = number("WINDLASS_DECODER_INPUTS").unwrap_or(preset);
        for _ in 0..count {
            let input = mutate(&seeds, &mut random);
            feed(target, &input).unwrap_or_else(|why| report(target, &input, seed, &why));
        }
        total += count;
        println!(
            "{:<16} {:>3} seeds, {count:>8} mutations in {:?}",
            target.name,
            seeds.len(),
            started.elapsed()
        );
    }
    println!("decoders: {total} inputs, every promise kept");
}

fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

/// A decoder that believes a length, one that forgets, and queues with flaws: the harness must see all of them.
#[test]
fn planted_decoders_are_caught() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    fn believes(data: &[u8]) {
        let Some(length) = data.first_chunk::<4>() else { return };
        let length = (u32::from_le_bytes(*length) as usize).min(64 << 20);
        std::hint::black_box(Vec::<u8>::with_capacity(length));
    }
    fn forgets(data: &[u8]) {
        let read: Vec<u8> = data.iter().copied().filter(|byte| *byte != 7).collect();
        assert_eq!(read, data, "it is not what it was");
    }
    let planted = |run: fn(&[u8]), memory_factor| Target { name: "planted", run, memory_factor };
    let seeds = vec![vec![3, 0, 0, 0, 1, 2, 3], vec![0; 20]];
    let scripts = seeds_of("core_step");
    let early = |data: &[u8]| planted_step(data, Plant::EarlyAnswers);
    let lost = |data: &[u8]| planted_step(data, Plant::LostBatches);
    let kept = |data: &[u8]| planted_step(data, Plant::KeptLeases);
    let all = [
        (planted(believes, Some(64)), &seeds),
        (planted(forgets, None), &seeds),
        (planted(early, None), &scripts),
        (planted(lost, None), &scripts),
        (planted(kept, None), &scripts),
    ];
    for (target, seeds) in all {
        let mut random = Random(1);
        let caught = (0..50_000).find(|_| feed(&target, &mutate(seeds, &mut random)).is_err());
        assert!(caught.is_some(), "the flaw was not seen");
    }
}

/// Each decoder has its folder of seeds and its fuzz target, and none is left of one that is gone.
#[test]
fn seeds_and_fuzz_targets_are_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> =
            entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut wanted: Vec<String> = all().map(|target| target.name.to_owned()).collect();
    wanted.sort();
    assert_eq!(names(&root.join("seeds")), wanted);
    assert_eq!(names(&root.join("fuzz_targets")), wanted);
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in wanted {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no program of the fuzz package");
        let bytes: usize = seeds_of(&name).iter().map(Vec::len).sum();
        assert!(bytes < 64 * 1024, "the seeds of {name} are too large to be kept");
    }
}

/// Seeds that are all refused at the first step would test that step alone.
#[test]
fn seeds_of_http_are_answered() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = seeds_of("http");
    let answers: Vec<_> = seeds.iter().map(|seed| node_targets::http::status_of(seed)).collect();
    let good =
        answers.iter().flatten().filter(|status| status.is_success() || status.is_redirection()).count();
    assert!(answers.iter().all(Option::is_some), "a seed is no request: {answers:?}");
    assert!(good * 2 >= seeds.len(), "{good} of {} are answered: {answers:?}", seeds.len());
}

/// Feeds one input, given as hex in `WINDLASS_DECODER_INPUT`, to the decoder that `WINDLASS_DECODER` names.
#[test]
#[ignore = "it repeats what another run has found"]
fn one_input() {
    let hex = std::env::var("WINDLASS_DECODER_INPUT").expect("WINDLASS_DECODER_INPUT has the input as hex");
    let name = std::env::var("WINDLASS_DECODER").expect("WINDLASS_DECODER names a decoder");
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("pairs of hex digits");
    let input: Vec<u8> = (0..hex.len() / 2).map(|pair| digits(2 * pair)).collect();
    let target = all().find(|target| target.name == name).expect("there is such a decoder");
    feed(target, &input).unwrap_or_else(|why| report(target, &input, 0, &why));
}
