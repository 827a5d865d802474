//! `windlass store`: the tables of a shared store, and copies from one store to another.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::checks::Check;
use super::error::{CliError, Exit};
use super::output::{self, Output, bytes, count};
use crate::config::{ServerFlags, resolve};
use crate::store::copy::{Copied, CopyError, copy};
use crate::store::postgres::database::{Database, DbError, Session, is_database_url};
use crate::store::postgres::schema::{self, Schema};
use crate::store::postgres::{SHARD, seat};
use crate::store::{DatabaseUrl, OpenError, StoreConfig};

/// Arguments of `windlass store`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass store migrate postgres://windlass@db/jobs        make the tables, or bring them up to date
  windlass store check                                      the store that a server here would use
  windlass store copy ./windlass-data postgres://windlass@db/jobs")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Make the tables of a PostgreSQL, or bring them up to date; servers do it by themselves when they may
    #[command(before_help = "\
Examples:
  windlass store migrate postgres://owner@db/jobs
  WINDLASS_STORE_FILE=/run/secrets/store windlass store migrate")]
    Migrate {
        #[command(flatten)]
        place: Place,
    },
    /// Look at a PostgreSQL: can it be reached, are its tables there, would it keep what it confirms, who owns it
    #[command(before_help = "\
Examples:
  windlass store check postgres://windlass@db/jobs
  windlass store check --json | jq '.checks[] | select(.ok | not)'")]
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Copy a store into an empty one, whatever the engines; the servers of both must be stopped
    #[command(before_help = "\
Examples:
  windlass store copy /var/lib/windlass postgres://windlass@db/jobs     from one machine to several
  windlass store copy postgres://windlass@db/jobs ./windlass-data       and back")]
    Copy {
        /// A data directory, postgres://…, or @FILE with either in it, so that no password is on the command line
        from: String,
        /// The same, but empty or absent
        to: String,
        /// PEM file with the certificates that a PostgreSQL's certificate is checked against
        #[arg(long, value_name = "FILE")]
        store_ca: Option<PathBuf>,
    },
}

/// Which database.
#[derive(Debug, clap::Args)]
struct Place {
    /// The database [default: the one a server here would use]
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// PEM file with the certificates that its certificate is checked against
    #[arg(long, value_name = "FILE")]
    store_ca: Option<PathBuf>,
}

impl Place {
    fn find(self) -> Result<DatabaseUrl, CliError> {
        let Some(url) = self.url else {
            let config = resolve(&ServerFlags::default(), &|name| std::env::var(name).ok())?.config;
            let text =
                "store: a server here would use no PostgreSQL; name one, such as postgres://windlass@db/jobs";
            return config.database.ok_or_else(|| CliError::usage(text));
        };
        let mut url = DatabaseUrl::parse(&url).map_err(|e| CliError::usage(format!("store: {e}")))?;
        url.trust(self.store_ca);
        Ok(url)
    }
}

/// Runs `windlass store`.
///
/// # Errors
/// Exit code 2 for a place that is none, 4 for a store in use or not empty, 5 for a database that does not answer, 6 for a
/// check that failed.
pub(crate) fn run(args: StoreArgs, out: Output) -> Result<(), CliError> {
    match args.command {
        StoreCommand::Migrate { place } => migrate(place.find()?, out),
        StoreCommand::Check { place } => check(place.find()?, out),
        StoreCommand::Copy { from, to, store_ca } => {
            copy_store(&store(&from, store_ca.as_deref())?, &store(&to, store_ca.as_deref())?, out)
        }
    }
}

fn db_error(place: &str, error: &DbError) -> CliError {
    let exit = match error {
        DbError::Away(_) | DbError::Lost(_) => Exit::Unreachable,
        DbError::Full(_) | DbError::Refused(_) => Exit::Failure,
    };
    CliError::new(exit, format!("store: {place}: {error}"))
}

fn connect(url: DatabaseUrl) -> Result<Database, CliError> {
    Database::new(url).map_err(|e| CliError::failure(format!("store: {e}")))
}

fn migrate(url: DatabaseUrl, out: Output) -> Result<(), CliError> {
    let database = connect(url)?;
    let (place, theirs) = (database.place(), database.clone());
    let migrated = database.wait(async move { schema::migrate(&mut Session::new(theirs)).await });
    let found = migrated.map_err(|e| db_error(&place, &e))?;
    let known = schema::VERSION;
    let done = match found {
        Schema::Absent => format!("made the tables, version {known}"),
        Schema::Older(version) => format!("brought the tables from version {version} to {known}"),
        Schema::Current => format!("the tables have version {known} already"),
        Schema::Newer(version) => {
            let text =
                format!("store: {place}: its tables have version {version}, this program knows {known}");
            return Err(CliError::new(Exit::Refused, format!("{text}; use a newer program")));
        }
    };
    if out.json {
        return out
            .json_value(&json!({ "store": place, "version": known, "changed": found != Schema::Current }));
    }
    out.line(format!("{place}: {done}"))
}

fn check(url: DatabaseUrl, out: Output) -> Result<(), CliError> {
    let database = connect(url)?;
    let (place, theirs) = (database.place(), database.clone());
    let looked = database.wait(async move { Ok(look(&mut Session::new(theirs)).await) });
    let checks = looked.map_err(|e| db_error(&place, &e))?;
    let whole = checks.iter().all(|check| check.ok);
    if out.json {
        let all: Vec<_> = checks.iter().map(Check::json).collect();
        out.json_value(&json!({ "store": place, "ok": whole, "checks": all }))?;
    } else {
        checks.iter().try_for_each(|check| check.print(out))?;
    }
    match whole {
        true => Ok(()),
        false => Err(CliError::new(Exit::CheckFailed, format!("store: {place} is not fit; see above"))),
    }
}

/// Looks at one thing after the other, and no further than makes sense.
async fn look(session: &mut Session) -> Vec<Check> {
    const VERSION: &str = "SELECT current_setting('server_version')";
    const COPIES: &str = "SELECT current_setting('synchronous_standby_names')";
    let mut checks = Vec::new();
    let mut note = |name, result: Result<String, String>| {
        let ok = result.is_ok();
        checks.push(Check { name, ok, detail: result.unwrap_or_else(|error| error), advice: "" });
        ok
    };
    let text = |rows: Vec<tokio_postgres::Row>| rows.first().map_or_else(String::new, |row| row.get(0));
    let server = session.query(VERSION, &[]).await;
    if !note("server", server.map(|rows| format!("PostgreSQL {}", text(rows))).map_err(|e| e.to_string())) {
        return checks;
    }
    let known = schema::VERSION;
    let tables = match schema::look(session).await {
        Ok(Schema::Current) => Ok(format!("version {known}")),
        Ok(Schema::Absent) => Err("there are none; run `windlass store migrate`".to_owned()),
        Ok(Schema::Older(found)) => Err(format!("version {found} of {known}; run `windlass store migrate`")),
        Ok(Schema::Newer(found)) => {
            Err(format!("version {found}, this program knows {known}; use a newer one"))
        }
        Err(error) => Err(error.to_string()),
    };
    let durable = match schema::unsafe_setting(session).await {
        Ok(None) => Ok("what is confirmed is on the disk".to_owned()),
        Ok(Some(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    };
    note("durable", durable);
    let copies = session.query(COPIES, &[]).await.map_err(|e| e.to_string()).map(|rows| {
        let names = text(rows);
        if names.is_empty() {
            "no synchronous standby: a fail-over of the database may lose what was confirmed last".to_owned()
        } else {
            format!("confirmed once these have it: {names}")
        }
    });
    note("standby", copies);
    if note("tables", tables) {
        let format = match schema::newer_format(session, SHARD).await {
            Ok(None) => Ok("this program reads what is there".to_owned()),
            Ok(Some(newer)) => Err(newer),
            Err(error) => Err(error.to_string()),
        };
        note("format", format);
        let owner = match seat::read(session, SHARD).await {
            Ok(Some(row)) => Ok(match row.seat.owner {
                Some(owner) => format!("shard {SHARD}: {owner}, epoch {}", row.seat.epoch),
                None => format!("shard {SHARD}: nobody, epoch {}", row.seat.epoch),
            }),
            Ok(None) => Err(format!("there is no shard {SHARD}")),
            Err(error) => Err(error.to_string()),
        };
        note("owner", owner);
    }
    checks
}

fn store(text: &str, ca: Option<&Path>) -> Result<StoreConfig, CliError> {
    if let Some(file) = text.strip_prefix('@') {
        let read = std::fs::read_to_string(file);
        let read = read.map_err(|e| CliError::usage(format!("store: {file}: cannot be read: {e}")))?;
        return store(read.trim().trim_start_matches('@'), ca);
    }
    if is_database_url(text) {
        let mut url = DatabaseUrl::parse(text).map_err(|e| CliError::usage(format!("store: {e}")))?;
        url.trust(ca.map(Path::to_owned));
        return Ok(StoreConfig::postgres(url));
    }
    if text.contains("://") {
        return Err(CliError::usage("store: a place is a directory or postgres://user@host/database"));
    }
    Ok(StoreConfig::sled(text))
}

fn copy_store(from: &StoreConfig, to: &StoreConfig, out: Output) -> Result<(), CliError> {
    // A directory that was mistyped would be made, and be empty.
    if from.database.is_none() && !from.data_dir.join("MANIFEST").exists() {
        let text = format!("store: there is no store in {}", from.data_dir.display());
        return Err(CliError::new(Exit::NotFound, text));
    }
    let bar = (!out.json && std::io::stderr().is_terminal()).then(|| {
        let style = ProgressStyle::with_template("{spinner} {pos} records, {msg} [{elapsed}]");
        let bar =
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    let begun = Instant::now();
    let copied = copy(from, to, &mut |done: Copied| {
        if let Some(bar) = &bar
            && done.pairs.is_multiple_of(256)
        {
            bar.set_position(done.pairs);
            bar.set_message(bytes(done.bytes));
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let copied = copied.map_err(|error| {
        let exit = match &error {
            CopyError::NotEmpty(_) | CopyError::Open(OpenError::Locked { .. } | OpenError::Owned { .. }) => {
                Exit::Refused
            }
            CopyError::Open(OpenError::Damaged(_)) => Exit::CheckFailed,
            _ => Exit::Failure,
        };
        CliError::new(exit, format!("store: {error}"))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    if out.json {
        return out.json_value(&json!({
            "from": from.place(), "to": to.place(), "records": copied.pairs, "bytes": copied.bytes, "seconds": seconds,
        }));
    }
    out.line(format!(
        "copied {} records, {}, from {} to {} in {seconds:.1} s; both hold the same",
        count(copied.pairs),
        bytes(copied.bytes),
        from.place(),
        to.place()
    ))?;
    output::note("windlass: start servers on the copy alone; on both, every job would run twice");
    Ok(())
}
