//! The table of fields: one line each for flag, variable, key, help, reference and origin.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use windlass_core::id::NodeName;

use super::{Config, LogFormat, StoreKind};
use crate::store::DatabaseUrl;
use crate::store::postgres::database::is_database_url;

/// One field of [`Config`], as flags, variables, files and documents see it.
#[derive(Debug)]
pub struct Field {
    /// Key in `windlass.toml`; the variable is the same in capitals after `WINDLASS_`.
    pub key: &'static str,
    /// The flag, without its dashes in front: the key with dashes inside.
    pub flag: &'static str,
    /// What stands in the place of the value in help texts.
    pub value: &'static str,
    /// Whether the flag may stand without a value, meaning `true`.
    pub switch: bool,
    /// What it does; ends in "Defaults to …".
    pub doc: &'static str,
    /// Its default as text.
    pub default: &'static str,
    /// Reads a value; the error is a reason such as `not a duration`.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    /// Writes the value in force.
    pub get: fn(&Config) -> String,
}

impl Field {
    /// The environment variable.
    #[must_use]
    pub fn env(&self) -> String {
        format!("WINDLASS_{}", self.key.to_ascii_uppercase())
    }
}

/// Every field, in the order of help and reference.
pub const FIELDS: &[Field] = &[
    Field {
        key: "data_dir",
        flag: "data-dir",
        value: "DIR",
        switch: false,
        doc: "Directory of the store; made if it is missing, used by one process at a time. Defaults to ./windlass-data",
        default: "./windlass-data",
        set: |c, v| non_empty(v).map(|v| c.data_dir = PathBuf::from(v)),
        get: |c| c.data_dir.display().to_string(),
    },
    Field {
        key: "store",
        flag: "store",
        value: "ENGINE|URL",
        switch: false,
        doc: "Where jobs are kept: sled (in the data directory), memory (gone when the process ends), or the URL of a PostgreSQL that several servers share, postgres://user@host/database?sslmode=require. Defaults to sled",
        default: "sled",
        set: store,
        get: |c| c.database.as_ref().map_or_else(|| c.store.name().to_owned(), DatabaseUrl::place),
    },
    Field {
        key: "store_file",
        flag: "store-file",
        value: "FILE|none",
        switch: false,
        doc: "File with the URL of the PostgreSQL, so that its password is on no command line, or none. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.store_file = v),
        get: |c| file_text(c.store_file.as_ref()),
    },
    Field {
        key: "store_ca",
        flag: "store-ca",
        value: "FILE|none",
        switch: false,
        doc: "PEM file with the certificates that the PostgreSQL's certificate is checked against, or none for those of the system. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.store_ca = v),
        get: |c| file_text(c.store_ca.as_ref()),
    },
    Field {
        key: "memory",
        flag: "memory",
        value: "SIZE",
        switch: false,
        doc: "Memory for jobs: those on their way into queues and to the disk, recent changes, the next jobs of each queue, the store's cache; the rest of a backlog is on the disk, and beyond that clients are asked to wait. A number with KiB, MiB or GiB. Defaults to 256MiB",
        default: "256MiB",
        set: |c, v| size(v).map(|v| c.memory = v),
        get: |c| size_text(c.memory),
    },
    Field {
        key: "http",
        flag: "http",
        value: "ADDR|off",
        switch: false,
        doc: "Address of dashboard, HTTP API and metrics, or off; port 0 takes a free one. Defaults to 127.0.0.1:7420",
        default: super::HTTP_DEFAULT,
        set: |c, v| door(v).map(|v| c.http = v),
        get: |c| door_text(c.http),
    },
    Field {
        key: "hosts",
        flag: "hosts",
        value: "NAME,…|none",
        switch: false,
        doc: "Names under which dashboard and HTTP API may be asked, beside addresses, localhost and the name given with --advertise, with commas between them, or none; a request for any other name is refused. Defaults to none",
        default: "none",
        set: hosts,
        get: |c| list_text(&c.hosts),
    },
    Field {
        key: "native",
        flag: "native",
        value: "ADDR",
        switch: false,
        doc: "Address of the native protocol, which clients and workers speak. Defaults to 127.0.0.1:7421",
        default: super::NATIVE_DEFAULT,
        set: |c, v| address(v).map(|v| c.native = v),
        get: |c| c.native.to_string(),
    },
    Field {
        key: "faktory",
        flag: "faktory",
        value: "ADDR|off",
        switch: false,
        doc: "Address of the Faktory Work Protocol, for its clients and workers in other languages, or off. Defaults to 127.0.0.1:7419",
        default: super::FAKTORY_DEFAULT,
        set: |c, v| door(v).map(|v| c.faktory = v),
        get: |c| door_text(c.faktory),
    },
    Field {
        key: "faktory_password_file",
        flag: "faktory-password-file",
        value: "FILE|none",
        switch: false,
        doc: "File with the password that Faktory clients must know, or none; WINDLASS_FAKTORY_PASSWORD may hold the password itself instead. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.faktory_password_file = v),
        get: |c| file_text(c.faktory_password_file.as_ref()),
    },
    Field {
        key: "tls_cert",
        flag: "tls-cert",
        value: "FILE|none",
        switch: false,
        doc: "PEM file with the server's certificate and those that lead to its authority, or none. With it, dashboard, API, native and Faktory port speak TLS and nothing else; a renewed file is taken up without a restart. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.tls_cert = v),
        get: |c| file_text(c.tls_cert.as_ref()),
    },
    Field {
        key: "tls_key",
        flag: "tls-key",
        value: "FILE|none",
        switch: false,
        doc: "PEM file with the private key of the certificate, not encrypted, or none. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.tls_key = v),
        get: |c| file_text(c.tls_key.as_ref()),
    },
    Field {
        key: "admin_token_file",
        flag: "admin-token-file",
        value: "FILE|none",
        switch: false,
        doc: "File with a token that may do everything, beside those that `windlass token create` makes, or none; WINDLASS_ADMIN_TOKEN may hold the token itself instead. Defaults to none",
        default: "none",
        set: |c, v| file(v).map(|v| c.admin_token_file = v),
        get: |c| file_text(c.admin_token_file.as_ref()),
    },
    Field {
        key: "gossip",
        flag: "gossip",
        value: "ADDR|off",
        switch: false,
        doc: "UDP address of the gossip, by which lost workers are found in about a second, or off (then heartbeats alone find them). Defaults to 127.0.0.1:7422",
        default: super::GOSSIP_DEFAULT,
        set: |c, v| door(v).map(|v| c.gossip = v),
        get: |c| door_text(c.gossip),
    },
    Field {
        key: "cluster",
        flag: "cluster",
        value: "NAME",
        switch: false,
        doc: "Name of the cluster; members with another name are not listened to. Defaults to windlass",
        default: "windlass",
        set: |c, v| non_empty(v).map(|v| c.cluster = v.to_owned()),
        get: |c| c.cluster.clone(),
    },
    Field {
        key: "name",
        flag: "name",
        value: "NAME|auto",
        switch: false,
        doc: "Name of this server among those that share a PostgreSQL, the same after a restart, or auto for host name and native port. Defaults to auto",
        default: "auto",
        set: |c, v| match v {
            "auto" => {
                c.name = None;
                Ok(())
            }
            name => NodeName::new(name).map(|name| c.name = Some(name)).map_err(|e| e.to_string()),
        },
        get: |c| c.name.as_ref().map_or_else(|| "auto".to_owned(), ToString::to_string),
    },
    Field {
        key: "advertise",
        flag: "advertise",
        value: "HOST|auto",
        switch: false,
        doc: "Host name or address by which other servers reach this one, or auto for the addresses it listens on. Defaults to auto",
        default: "auto",
        set: |c, v| non_empty(v).map(|v| c.advertise = (v != "auto").then(|| v.to_owned())),
        get: |c| c.advertise.clone().unwrap_or_else(|| "auto".to_owned()),
    },
    Field {
        key: "seed",
        flag: "seed",
        value: "HOST:PORT,…|none",
        switch: false,
        doc: "Gossip addresses of other servers to start from, with commas between them, or none. Defaults to none",
        default: "none",
        set: seeds,
        get: |c| list_text(&c.seeds),
    },
    Field {
        key: "insecure_bind",
        flag: "insecure-bind",
        value: "BOOL",
        switch: true,
        doc: "Allow addresses that other machines can reach although there is no access token. Defaults to false",
        default: "false",
        set: |c, v| boolean(v).map(|v| c.insecure_bind = v),
        get: |c| c.insecure_bind.to_string(),
    },
    Field {
        key: "read_only_dashboard",
        flag: "read-only-dashboard",
        value: "BOOL",
        switch: true,
        doc: "Refuse everything over HTTP that changes something. Defaults to false",
        default: "false",
        set: |c, v| boolean(v).map(|v| c.read_only_dashboard = v),
        get: |c| c.read_only_dashboard.to_string(),
    },
    Field {
        key: "lease",
        flag: "lease",
        value: "DURATION",
        switch: false,
        doc: "Time until a worker that is silent loses its jobs to others; at least three heartbeats. Defaults to 8s",
        default: "8s",
        set: |c, v| duration(v).map(|v| c.lease = v),
        get: |c| humantime::format_duration(c.lease).to_string(),
    },
    Field {
        key: "heartbeat",
        flag: "heartbeat",
        value: "DURATION",
        switch: false,
        doc: "Interval at which workers say that they live. Defaults to 1s",
        default: "1s",
        set: |c, v| duration(v).map(|v| c.heartbeat = v),
        get: |c| humantime::format_duration(c.heartbeat).to_string(),
    },
    Field {
        key: "grace",
        flag: "grace",
        value: "DURATION",
        switch: false,
        doc: "Time that a worker has to come back with its running jobs after its connection was lost. Defaults to 3s",
        default: "3s",
        set: |c, v| duration(v).map(|v| c.grace = v),
        get: |c| humantime::format_duration(c.grace).to_string(),
    },
    Field {
        key: "log",
        flag: "log",
        value: "FILTER",
        switch: false,
        doc: "Which log lines are written: error, warn, info, debug, trace, or per module as in info,windlass_scheduler::store=debug. Defaults to info",
        default: "info",
        set: |c, v| non_empty(v).map(|v| c.log = v.to_owned()),
        get: |c| c.log.clone(),
    },
    Field {
        key: "log_format",
        flag: "log-format",
        value: "FORM",
        switch: false,
        doc: "Form of log lines, which go to stderr: text, json, or auto (text on a terminal, json elsewhere). Defaults to auto",
        default: "auto",
        set: |c, v| {
            one_of(v, &[LogFormat::Auto, LogFormat::Text, LogFormat::Json], LogFormat::name)
                .map(|v| c.log_format = v)
        },
        get: |c| c.log_format.name().to_owned(),
    },
];

/// The table of fields as Markdown, for `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from("| key | flag | variable | default | what it does |\n|---|---|---|---|---|\n");
    for field in FIELDS {
        let what = field.doc.split(" Defaults to ").next().unwrap_or(field.doc);
        let value =
            if field.switch { String::new() } else { format!(" {}", field.value.replace('|', "\\|")) };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | `--{}{value}` | `{}` | `{}` | {what} |",
            field.key,
            field.flag,
            field.env(),
            field.default
        );
    }
    out
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text} is no size such as 256MiB or 1GiB");
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
    number.checked_mul(bytes).ok_or_else(wrong)
}

fn size_text(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

fn non_empty(text: &str) -> Result<&str, String> {
    if text.trim().is_empty() { Err("empty".to_owned()) } else { Ok(text) }
}

fn store(config: &mut Config, text: &str) -> Result<(), String> {
    if is_database_url(text) {
        config.database = Some(DatabaseUrl::parse(text)?);
        config.store = StoreKind::Postgres;
        return Ok(());
    }
    let kinds = [StoreKind::Sled, StoreKind::Memory];
    config.store = one_of(text, &kinds, StoreKind::name).map_err(|e| format!("{e} or postgres://…"))?;
    Ok(())
}

fn hosts(config: &mut Config, text: &str) -> Result<(), String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains(['/', ':', ' ']);
    config.hosts = list(text, is_name, "host name such as jobs.example.com")?;
    Ok(())
}

fn seeds(config: &mut Config, text: &str) -> Result<(), String> {
    let has_port = |seed: &str| seed.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    config.seeds = list(text, has_port, "HOST:PORT such as node2:7422")?;
    Ok(())
}

/// Several values with commas between them, or none.
fn list(text: &str, is_one: impl Fn(&str) -> bool, what: &str) -> Result<Vec<String>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let all: Vec<String> = text.split(',').map(|one| one.trim().to_owned()).collect();
    match all.iter().find(|one| !is_one(one)) {
        Some(wrong) => Err(format!("{wrong:?} is no {what}")),
        None => Ok(all),
    }
}

fn list_text(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(",") }
}

fn file(text: &str) -> Result<Option<PathBuf>, String> {
    non_empty(text).map(|text| (text != "none").then(|| PathBuf::from(text)))
}

fn file_text(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map_err(|_| "not an address of the form IP:PORT, such as 127.0.0.1:7420".to_owned())
}

fn door(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    address(text).map(Some).map_err(|reason| format!("{reason}, nor off"))
}

fn door_text(door: Option<SocketAddr>) -> String {
    door.map_or_else(|| "off".to_owned(), |at| at.to_string())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "not a duration such as 500ms, 8s or 2m".to_owned())
}

fn one_of<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    let names = || all.iter().map(|v| name(*v)).collect::<Vec<_>>().join(" or ");
    all.iter().copied().find(|v| name(*v) == text).ok_or_else(|| format!("not {}", names()))
}
