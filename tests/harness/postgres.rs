//! A PostgreSQL of a test's own: made in a temporary directory, killed, started again, followed by a standby, promoted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Where Debian keeps the server's programs, by version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// The account that the server runs under when the tests run as root, which it refuses to.
const ACCOUNT: &str = "postgres";
/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, ended and removed when it is dropped.
pub struct Postgres {
    programs: PathBuf,
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

/// Where the server's programs are, the newest version.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PROGRAMS).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter(|path| path.join("bin/postgres").is_file()).max_by_key(number)?;
    Some(newest.join("bin"))
}

impl Postgres {
    /// Makes and starts a server with one database, `windlass`. `None`, with a word on stderr, where PostgreSQL is not installed;
    /// with `WINDLASS_REQUIRE_POSTGRES=1`, as in CI, that is a failure.
    ///
    /// # Errors
    /// When the server cannot be made or started.
    ///
    /// # Panics
    /// When it must be there and is not.
    pub fn start() -> Result<Option<Postgres>> {
        let Some(programs) = programs() else {
            let must = std::env::var("WINDLASS_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
            assert!(!must, "WINDLASS_REQUIRE_POSTGRES=1, and there is no PostgreSQL in {PROGRAMS}");
            eprintln!("SKIP: there is no PostgreSQL in {PROGRAMS} (apt install postgresql)");
            return Ok(None);
        };
        let dir = TempDir::new()?;
        let mut server = Postgres { programs, dir, port: free_port()?, server: None };
        server.give_away()?;
        let data = server.data();
        let data = data.to_str().context("a temporary directory has a plain name")?;
        server.run(
            "initdb",
            &["-D", data, "-U", "windlass", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        )?;
        server.go()?;
        server.run(
            "createdb",
            &["-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "windlass", "windlass"],
        )?;
        Ok(Some(server))
    }

    /// A server that follows this one and is in step with it before a commit is confirmed. The primary must know `name` in
    /// `synchronous_standby_names`; see [`Postgres::demand_standby`].
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub fn follower(&self, name: &str) -> Result<Postgres> {
        let dir = TempDir::new()?;
        let mut server = Postgres { programs: self.programs.clone(), dir, port: free_port()?, server: None };
        server.give_away()?;
        let data = server.data();
        let data = data.to_str().context("a temporary directory has a plain name")?;
        let from = format!("host=127.0.0.1 port={} user=windlass application_name={name}", self.port);
        server.run(
            "pg_basebackup",
            &["-D", data, "-d", &from, "-R", "-X", "stream", "--no-sync", "-c", "fast"],
        )?;
        server.go()?;
        Ok(server)
    }

    /// From now on no commit is confirmed before the standby `name` has it.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn demand_standby(&self, name: &str) -> Result<()> {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"))?;
        self.sql("SELECT pg_reload_conf()")?;
        let deadline = Instant::now() + PATIENCE;
        while self.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")? != "1" {
            if Instant::now() > deadline {
                bail!("the standby {name} is not in step");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Makes a follower the primary.
    ///
    /// # Errors
    /// When it refuses.
    pub fn promote(&self) -> Result<()> {
        // What it demanded of its own followers came with the copy, and there are none.
        self.sql("ALTER SYSTEM SET synchronous_standby_names = ''")?;
        self.sql("SELECT pg_promote(true, 60)").map(drop)
    }

    /// The database's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://windlass@127.0.0.1:{}/windlass?sslmode=disable", self.port)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes another, empty database beside the first and returns its URL.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql(&format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgres://windlass@127.0.0.1:{}/{name}?sslmode=disable", self.port))
    }

    /// Sends SQL to the first database and returns the first column of what comes back, a line each.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in("windlass", sql)
    }

    /// The same, for another database.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String> {
        let port = self.port.to_string();
        let args = [
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "windlass",
        ];
        let out =
            Command::new(self.programs.join("psql")).args(args).args(["-d", database, "-c", sql]).output()?;
        if !out.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Ends all its processes at once, as a crash does.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the server does not run")?;
        // Children first would be seen by the parent, which then restarts them in order.
        let parent = Pid::from_child(&server);
        let children = children(parent);
        kill_process(parent, Signal::KILL)?;
        for child in children {
            // One that has ended by itself meanwhile.
            let _ = kill_process(child, Signal::KILL);
        }
        server.wait()?;
        Ok(())
    }

    /// Starts it again, at the same port.
    ///
    /// # Errors
    /// When it does not start in time.
    pub fn go(&mut self) -> Result<()> {
        // A server that was killed leaves the note of its process.
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        let data = self.data();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"))?;
        let port = self.port.to_string();
        let mut command = self.as_account("postgres");
        command.args(["-D", data.to_str().context("a plain name")?, "-p", &port, "-h", "127.0.0.1"]);
        command.args([
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=100",
            "-c",
            "max_wal_senders=4",
        ]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        self.server = Some(command.spawn()?);
        let deadline = Instant::now() + PATIENCE;
        let ready = self.programs.join("pg_isready");
        while !Command::new(&ready).args(["-q", "-h", "127.0.0.1", "-p", &port]).status()?.success() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL did not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// From now on the server offers TLS with this certificate and key, both PEM.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn offer_tls(&self, certificate: &str, key: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            std::fs::write(&path, text)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            if rustix::process::getuid().is_root() {
                anyhow::ensure!(Command::new("chown").arg(ACCOUNT).arg(&path).status()?.success());
            }
        }
        self.sql("ALTER SYSTEM SET ssl = on")?;
        self.sql("SELECT pg_reload_conf()")?;
        let deadline = Instant::now() + PATIENCE;
        while self.sql("SHOW ssl")? != "on" {
            anyhow::ensure!(Instant::now() < deadline, "TLS was not switched on");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The directory belongs to whoever the server runs as.
    fn give_away(&self) -> Result<()> {
        if rustix::process::getuid().is_root() {
            let done = Command::new("chown").arg(ACCOUNT).arg(self.dir.path()).status()?;
            anyhow::ensure!(done.success(), "there is no account {ACCOUNT}");
        }
        Ok(())
    }

    fn as_account(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !rustix::process::getuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"]).arg(program);
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        let out = self.as_account(program).args(args).current_dir("/").output()?;
        anyhow::ensure!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr).trim());
        Ok(())
    }
}

/// A PgBouncer in front of a server, which gives each transaction whatever session is free.
pub struct Pooler {
    _dir: TempDir,
    process: Child,
    port: u16,
}

impl Postgres {
    /// Puts a pooler in front, in transaction mode and with two sessions for all. `None`, with a word on stderr, where PgBouncer is
    /// not installed; with `WINDLASS_REQUIRE_POSTGRES=1` that is a failure.
    ///
    /// # Errors
    /// When it cannot be started.
    ///
    /// # Panics
    /// When it must be there and is not.
    pub fn pooler(&self) -> Result<Option<Pooler>> {
        let program = Path::new("/usr/sbin/pgbouncer");
        if !program.exists() {
            let must = std::env::var("WINDLASS_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
            assert!(!must, "WINDLASS_REQUIRE_POSTGRES=1, and there is no PgBouncer at {}", program.display());
            eprintln!("SKIP: there is no PgBouncer (apt install pgbouncer)");
            return Ok(None);
        }
        let (dir, port) = (TempDir::new()?, free_port()?);
        let ini = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=windlass\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n",
            self.port
        );
        std::fs::write(&ini, text)?;
        let mut command = Command::new(program);
        if rustix::process::getuid().is_root() {
            anyhow::ensure!(Command::new("chown").arg("-R").arg(ACCOUNT).arg(dir.path()).status()?.success());
            command = Command::new("setpriv");
            command.args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"]).arg(program);
        }
        let log = std::fs::File::create(dir.path().join("log"))?;
        command
            .arg("-q")
            .arg(&ini)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/");
        let process = command.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                bail!("PgBouncer did not start: {}", std::fs::read_to_string(dir.path().join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(Pooler { _dir: dir, process, port }))
    }
}

impl Pooler {
    /// URL of a database behind it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://windlass@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            // Nothing of it is needed any more.
            let _ = self.kill();
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The processes that a process has started.
fn children(parent: Pid) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
