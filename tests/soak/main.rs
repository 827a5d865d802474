//! `soak`: mixed load with faults for as long as is wanted, and a verdict. The same program is the worker process of the suites.
//!
//! `soak --minutes 60 [--rate 400] [--seed 1] [--out DIR]` prints a line every ten seconds, ends with the verdict as text, writes it as
//! `verdict.txt` and `verdict.json` to DIR, and exits with 1 when a promise was broken. `WINDLASS_BINARY` says which server is tried.

mod nemesis;
mod run;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What the command line wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) time: Duration,
    pub(crate) rate: u32,
    pub(crate) seed: u64,
    pub(crate) out: PathBuf,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, plan] = args.as_slice()
        && word == "worker"
    {
        return windlass_tests::fleet::worker_main(plan);
    }
    let wanted = read(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let verdict = runtime.block_on(run::run(&wanted))?;
    verdict.write(&wanted.out)?;
    println!("{verdict}");
    if !verdict.holds() {
        bail!("a promise was broken, see {}", wanted.out.display());
    }
    Ok(())
}

fn read(args: &[String]) -> Result<Wanted> {
    let mut wanted =
        Wanted { time: Duration::from_secs(3_600), rate: 400, seed: 1, out: PathBuf::from("target/soak") };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--minutes" => wanted.time = Duration::try_from_secs_f64(value.parse::<f64>()? * 60.0)?,
            "--rate" => wanted.rate = value.parse()?,
            "--seed" => wanted.seed = value.parse()?,
            "--out" => wanted.out = value.into(),
            _ => bail!("there is no {flag}; write --minutes, --rate, --seed or --out"),
        }
    }
    Ok(wanted)
}
