//! `soak`: an hour of mixed load with faults, and a verdict. The same program is the worker process of the suites.

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("worker"), Some(plan)) => windlass_tests::fleet::worker_main(&plan),
        _ => anyhow::bail!("usage: soak worker PLAN"),
    }
}
