//! The table, and the same as JSON.

use serde_json::{Map, Value, json};

use super::BenchArgs;
use super::load::Latencies;
use super::machine::Machine;
use super::stage::Measured;
use crate::cli::error::CliError;
use crate::cli::output::{Output, Word, bytes, count};

const HEADERS: [&str; 11] = [
    "PHASE",
    "JOBS",
    "SECONDS",
    "JOBS/S",
    "P50",
    "P99",
    "P99.9",
    "MAX",
    "SERVER CPU",
    "CLIENT CPU",
    "SERVER RSS",
];

/// What the columns mean.
const LEGEND: &str = "\
latency   enqueue phases and both at once: from the request to its durable confirmation;
          latency phases: from the request to the start of the handler
cpu       processors that the server, and that producers and workers kept busy; they share one machine";

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
            "in_flight": args.in_flight, "workers": args.workers, "concurrency": args.concurrency,
            "seconds": args.seconds.as_secs_f64(), "store": args.server.is_none().then_some(&args.store), "server": args.server,
        });
        return out.json_value(&json!({ "machine": machine, "settings": settings, "results": results }));
    }
    out.table(&HEADERS, all.iter().map(row).collect())?;
    let said: Vec<_> = all.iter().filter_map(aside).collect();
    if !said.is_empty() {
        out.line(format!("\n{}", said.join("\n")))?;
    }
    out.line(format!("\nmachine   {}", machine_text(machine)))?;
    let place = match &args.server {
        Some(server) => format!("server {server}"),
        None => format!("own server process, store {}, same machine", args.store),
    };
    out.line(format!(
        "settings  payloads of {} bytes; {place}; windlass {}{}\n{LEGEND}",
        args.payload_bytes,
        machine.version,
        if machine.optimised { "" } else { " (debug build)" },
    ))
}

fn machine_text(machine: &Machine) -> String {
    let mut text = format!(
        "{} × {}, {} memory, Linux {}",
        machine.cpus,
        machine.cpu,
        bytes(machine.memory_bytes),
        machine.kernel
    );
    if let Some(us) = machine.fdatasync_us {
        text.push_str(&format!("\ndisk      4 KiB appended and fdatasync {} (median)", latency(us)));
    }
    if let (Some(us), Some(rate)) = (machine.fdatasync_recycled_us, machine.fdatasync_recycled_per_second) {
        text.push_str(&format!("; over written blocks {}, {} a second", latency(us), count(rate)));
    }
    text
}

fn row(measured: &Measured) -> Vec<Word> {
    let seconds = measured.elapsed.as_secs_f64();
    let at = |quantile: f64| quantile_text(measured.latencies.as_ref(), quantile);
    let cores = |cores: Option<f64>| cores.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
    [
        measured.phase.clone(),
        count(measured.jobs),
        format!("{seconds:.2}"),
        count(measured.rate()),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        cores(measured.server_cores),
        cores(measured.client_cores),
        measured.server_rss.map_or_else(|| "-".to_owned(), bytes),
    ]
    .map(Word::from)
    .to_vec()
}

/// What only some phases have to say, for people: the scenarios of large numbers.
fn aside(measured: &Measured) -> Option<String> {
    let detail = |name: &str| measured.details.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
    let number = |name: &str| detail(name).and_then(Value::as_u64);
    let text = match measured.name {
        "backlog_enqueue" => format!(
            "{} on the disk, {} of memory at most",
            bytes(measured.disk?),
            bytes(measured.server_rss_peak?)
        ),
        "backlog_restart" => format!("ready again after {:.2} s", measured.elapsed.as_secs_f64()),
        "backlog_run" => {
            format!("{} times the rate of a backlog of 10,000", detail("rate_beside_small")?)
        }
        "connections_open" => {
            format!("{} of memory per connection", bytes(number("rss_bytes_per_connection")?))
        }
        "latency_half" => {
            format!("half of {} jobs/s one by one", count(number("full_load_jobs_per_second")?))
        }
        "timers_run" | "timers_instant_run" => format!("{} early", count(number("early")?)),
        _ => return None,
    };
    Some(format!("{}: {text}", measured.phase))
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

/// The keys are a promise to programs: `name` says which phase it is, whatever `phase` says to people.
fn entry(measured: &Measured) -> Value {
    let latencies = measured.latencies.as_ref().map(|h| {
        json!({
            "of": measured.latency_of, "count": h.len(), "p50_us": h.value_at_quantile(0.5),
            "p99_us": h.value_at_quantile(0.99), "p999_us": h.value_at_quantile(0.999), "max_us": h.max(),
        })
    });
    let details: Map<_, _> =
        measured.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({
        "name": measured.name, "phase": measured.phase, "jobs": measured.jobs,
        "seconds": measured.elapsed.as_secs_f64(), "jobs_per_second": measured.rate(), "latency": latencies,
        "server_cores": measured.server_cores, "client_cores": measured.client_cores,
        "server_rss_bytes": measured.server_rss, "server_rss_peak_bytes": measured.server_rss_peak,
        "disk_bytes": measured.disk, "details": details,
    })
}
