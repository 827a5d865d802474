//! What a server is told: one table of fields, from which flags, environment, `windlass.toml`, `windlass check` and
//! `docs/configuration.md` all come.
//!
//! Precedence: flag, environment, file, default. Unknown keys of a file are refused, with the nearest known one.

mod field;
mod file;
mod flags;
mod resolve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use field::{FIELDS, Field, reference};
pub use flags::ServerFlags;
pub use resolve::{Origin, Resolved, Setting, resolve};

use windlass_core::limits;

use windlass_core::id::NodeName;

use crate::access::AdminToken;
use crate::door::TlsFiles;
use crate::faktory::Password;
use crate::node::Memory;
use crate::store::DatabaseUrl;

/// The file that is read from the working directory when no other is named.
pub const FILE_NAME: &str = "windlass.toml";
/// Where the file is looked for after the working directory.
pub const FILE_SYSTEM: &str = "/etc/windlass/windlass.toml";
/// The variable that names the file.
pub const FILE_ENV: &str = "WINDLASS_CONFIG";
/// Where the HTTP port is by default.
pub const HTTP_DEFAULT: &str = "127.0.0.1:7420";
/// Where the native port is by default.
pub const NATIVE_DEFAULT: &str = "127.0.0.1:7421";
/// Where the Faktory port is by default.
pub const FAKTORY_DEFAULT: &str = "127.0.0.1:7419";
/// The variable with the password of the Faktory port, for systems that hand secrets over so.
pub const FAKTORY_PASSWORD_ENV: &str = "WINDLASS_FAKTORY_PASSWORD";
/// The variable with the token that may do everything.
pub const ADMIN_TOKEN_ENV: &str = "WINDLASS_ADMIN_TOKEN";
/// Where the gossip is by default.
pub const GOSSIP_DEFAULT: &str = "127.0.0.1:7422";

/// Which engine keeps the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// The durable engine in the data directory.
    #[default]
    Sled,
    /// Nothing survives the process; for tests and trials.
    Memory,
    /// A database that several servers share.
    Postgres,
}

impl StoreKind {
    /// The name in flags and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Sled => "sled",
            StoreKind::Memory => "memory",
            StoreKind::Postgres => "postgres",
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

impl LogFormat {
    /// The name in flags and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// Everything a server is told. The table [`FIELDS`] says for each field which flag, variable and key set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the store. Defaults to `./windlass-data`.
    pub data_dir: PathBuf,
    /// Engine of the store. Defaults to sled.
    pub store: StoreKind,
    /// The database of the PostgreSQL engine. Defaults to none.
    pub database: Option<DatabaseUrl>,
    /// File with the database's URL. Defaults to none.
    pub store_file: Option<PathBuf>,
    /// File with the certificates that the database's is checked against. Defaults to those of the system.
    pub store_ca: Option<PathBuf>,
    /// Name of this node among the others. Defaults to host name and native port.
    pub name: Option<NodeName>,
    /// What others reach this node by. Defaults to the addresses it listens on.
    pub advertise: Option<String>,
    /// Names under which pages and HTTP API may be asked, beside addresses and loopback names. Defaults to none.
    pub hosts: Vec<String>,
    /// Members of the gossip to start from. Defaults to none.
    pub seeds: Vec<String>,
    /// Memory for jobs, in bytes. Defaults to 256 MiB.
    pub memory: u64,
    /// Address of dashboard, API and metrics; `None` for no such door. Defaults to `127.0.0.1:7420`.
    pub http: Option<SocketAddr>,
    /// Address of the native protocol. Defaults to `127.0.0.1:7421`.
    pub native: SocketAddr,
    /// Address of the Faktory Work Protocol; `None` for no such door. Defaults to `127.0.0.1:7419`.
    pub faktory: Option<SocketAddr>,
    /// File with the password of the Faktory port. Defaults to none.
    pub faktory_password_file: Option<PathBuf>,
    /// The password of the Faktory port, from the file or [`FAKTORY_PASSWORD_ENV`]. Defaults to none.
    pub faktory_password: Option<Password>,
    /// File with a token that may do everything. Defaults to none.
    pub admin_token_file: Option<PathBuf>,
    /// The token that may do everything, from the file or [`ADMIN_TOKEN_ENV`]. Defaults to none.
    pub admin_token: Option<AdminToken>,
    /// A token for what runs within the process of the server; no field sets it. Defaults to none.
    pub own_token: Option<AdminToken>,
    /// Address of the gossip (UDP); `None` for none. Defaults to `127.0.0.1:7422`.
    pub gossip: Option<SocketAddr>,
    /// File with the certificate of the server. Defaults to none.
    pub tls_cert: Option<PathBuf>,
    /// File with the key of the certificate. Defaults to none.
    pub tls_key: Option<PathBuf>,
    /// Gossip cluster id. Defaults to `windlass`.
    pub cluster: String,
    /// Whether addresses other machines can reach are allowed without authentication. Defaults to `false`.
    pub insecure_bind: bool,
    /// Whether the HTTP door refuses everything that changes something. Defaults to `false`.
    pub read_only_dashboard: bool,
    /// Time until a silent worker loses its leases. Defaults to 8 s.
    pub lease: Duration,
    /// Interval of a worker's heartbeats. Defaults to 1 s.
    pub heartbeat: Duration,
    /// Time that a lost session has to come back with its leases. Defaults to 3 s.
    pub grace: Duration,
    /// Filter of log lines. Defaults to `info`.
    pub log: String,
    /// Form of log lines. Defaults to text on a terminal and JSON elsewhere.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Config {
        let address = |text: &str| text.parse().expect("the default addresses are addresses");
        Config {
            data_dir: PathBuf::from("./windlass-data"),
            store: StoreKind::Sled,
            database: None,
            store_file: None,
            store_ca: None,
            name: None,
            advertise: None,
            hosts: Vec::new(),
            seeds: Vec::new(),
            memory: Memory::DEFAULT.0,
            http: Some(address(HTTP_DEFAULT)),
            native: address(NATIVE_DEFAULT),
            faktory: Some(address(FAKTORY_DEFAULT)),
            faktory_password_file: None,
            faktory_password: None,
            admin_token_file: None,
            admin_token: None,
            own_token: None,
            gossip: Some(address(GOSSIP_DEFAULT)),
            tls_cert: None,
            tls_key: None,
            cluster: "windlass".to_owned(),
            insecure_bind: false,
            read_only_dashboard: false,
            lease: Duration::from_millis(limits::LEASE_MS_DEFAULT),
            heartbeat: Duration::from_millis(limits::HEARTBEAT_MS_DEFAULT),
            grace: Duration::from_millis(limits::RESUME_GRACE_MS_DEFAULT),
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
        }
    }
}

/// A configuration that is not taken, as one line: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Certificate and key, when TLS is on.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles { cert: self.tls_cert.clone()?, key: self.tls_key.clone()? })
    }

    /// Checks the rules that concern several fields.
    ///
    /// # Errors
    /// [`ConfigError`] names the fields, the rule, and what to set.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        if self.heartbeat < Duration::from_millis(50) {
            return refuse(
                "heartbeat: shorter than 50 ms only makes load; set heartbeat = \"1s\"".to_owned(),
            );
        }
        // Fewer than three lost heartbeats must not cost a live worker its leases.
        if self.lease < self.heartbeat * 3 {
            return refuse(format!(
                "lease: {} is less than three heartbeats of {}, so a live worker could lose its jobs; raise lease or lower heartbeat",
                humantime::format_duration(self.lease),
                humantime::format_duration(self.heartbeat),
            ));
        }
        if self.memory < Memory::MIN.0 {
            return refuse(
                "memory: less than 32 MiB leaves no room to work; set memory = \"256MiB\"".to_owned(),
            );
        }
        if self.store == StoreKind::Postgres && self.database.is_none() {
            return refuse(
                "store: a database is named by its URL; set store = \"postgres://user@host/database\", or store_file"
                    .to_owned(),
            );
        }
        if self.cluster.is_empty() || self.cluster.len() > 128 {
            return refuse("cluster: the name has 1 to 128 bytes".to_owned());
        }
        for (given, missing, other) in [
            ("tls_cert", "tls_key", (&self.tls_cert, &self.tls_key)),
            ("tls_key", "tls_cert", (&self.tls_key, &self.tls_cert)),
        ] {
            if other.0.is_some() && other.1.is_none() {
                return refuse(format!(
                    "{given}: is nothing without {missing}; set both, or neither for no TLS"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_the_table_agrees_with_them() {
        let config = Config::default();
        config.validate().expect("the defaults hold");
        for field in FIELDS {
            assert_eq!((field.get)(&config), field.default, "default of {}", field.key);
            assert_eq!(field.flag, field.key.replace('_', "-"));
            assert!(field.doc.contains("Defaults to "), "the doc of {} ends in its default", field.key);
            let mut other = Config::default();
            (field.set)(&mut other, field.default).expect("a default can be set");
            assert_eq!(other, config, "setting the default of {} changes nothing", field.key);
        }
    }

    #[test]
    fn a_lease_outlives_lost_heartbeats() {
        let config =
            Config { lease: Duration::from_secs(2), heartbeat: Duration::from_secs(1), ..Config::default() };
        assert!(config.validate().expect_err("too short").to_string().starts_with("lease: 2s"));
    }
}
