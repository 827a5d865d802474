//! The table, and the same as JSON.

use serde_json::{Value, json};

use super::BenchArgs;
use super::load::Latencies;
use super::machine::Machine;
use super::phases::Measured;
use crate::cli::error::CliError;
use crate::cli::output::{Output, Word, bytes, count};

const HEADERS: [&str; 10] =
    ["PHASE", "JOBS", "SECONDS", "JOBS/S", "P50", "P99", "P99.9", "MAX", "SERVER CPU", "SERVER RSS"];

/// Prints the report.
pub(super) fn print(
    args: &BenchArgs,
    machine: &Machine,
    all: &[Measured],
    out: Output,
) -> Result<(), CliError> {
    if out.json {
        let results: Vec<_> = all.iter().map(entry).collect();
        let settings = json!({
            "jobs": args.jobs, "payload_bytes": args.payload_bytes, "producers": args.producers, "batch": args.batch,
            "concurrency": args.concurrency, "store": args.server.is_none().then_some(&args.store), "server": args.server,
        });
        return out.json_value(&json!({ "machine": machine, "settings": settings, "results": results }));
    }
    out.table(&HEADERS, all.iter().map(row).collect())?;
    let sync = machine
        .fdatasync_us
        .map_or_else(String::new, |us| format!(", 4 KiB append and fdatasync {} (median)", latency(us)));
    let place = match &args.server {
        Some(server) => format!("server {server}"),
        None => format!("own server process, store {}, same machine", args.store),
    };
    out.line(format!(
        "\nmachine   {} × {}, {} memory, Linux {}{sync}\nsettings  payloads of {} bytes; {place}; windlass {}{}",
        machine.cpus,
        machine.cpu,
        bytes(machine.memory_bytes),
        machine.kernel,
        args.payload_bytes,
        machine.version,
        if machine.optimised { "" } else { " (debug build)" },
    ))?;
    out.line(
        "latency   enqueue phases and both at once: from the request to its durable confirmation;\n          latency phase: from the request to the start of the handler\ncpu       processors the server kept busy; producers and worker share the machine with it",
    )
}

fn row(measured: &Measured) -> Vec<Word> {
    let seconds = measured.elapsed.as_secs_f64();
    let at = |quantile: f64| quantile_text(measured.latencies.as_ref(), quantile);
    [
        measured.phase.clone(),
        count(measured.jobs),
        format!("{seconds:.2}"),
        count(rate(measured)),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        measured.server_cores.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}")),
        measured.server_rss.map_or_else(|| "-".to_owned(), bytes),
    ]
    .map(Word::from)
    .to_vec()
}

fn rate(measured: &Measured) -> u64 {
    // A rate is positive and far below 2^53.
    (measured.jobs as f64 / measured.elapsed.as_secs_f64().max(1e-9)).round() as u64
}

fn quantile_text(latencies: Option<&Latencies>, quantile: f64) -> String {
    latencies.map_or_else(|| "-".to_owned(), |h| latency(h.value_at_quantile(quantile)))
}

fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.2} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn entry(measured: &Measured) -> Value {
    let latencies = measured.latencies.as_ref().map(|h| {
        json!({
            "of": measured.latency_of, "count": h.len(), "p50_us": h.value_at_quantile(0.5),
            "p99_us": h.value_at_quantile(0.99), "p999_us": h.value_at_quantile(0.999), "max_us": h.max(),
        })
    });
    json!({
        "phase": measured.phase, "jobs": measured.jobs, "seconds": measured.elapsed.as_secs_f64(),
        "jobs_per_second": rate(measured), "latency": latencies, "server_cores": measured.server_cores,
        "server_rss_bytes": measured.server_rss,
    })
}
