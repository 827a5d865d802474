//! The built `windlass` binary as child processes: started on free loopback ports, killed, stopped, started again.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The `windlass` binary of this build, built first if it is not there: `cargo test` builds the tests of this crate, not
/// the binaries of another.
///
/// # Panics
/// When it cannot be built, since no test of processes makes sense then.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("WINDLASS_BINARY") {
            return given.into();
        }
        let own = std::env::current_exe().expect("a test knows its own path");
        let mut profile_dir = own.parent().expect("a program stands in a directory").to_owned();
        // Programs stand in target/<profile>, tests a level deeper.
        if profile_dir.ends_with("deps") {
            profile_dir.pop();
        }
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package", "windlass-scheduler", "--bin", "windlass"]);
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        // What cargo says about this package to its tests would make build scripts of others run anew, and half of the tree with them.
        let ours = |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            build.env_remove(name);
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "the windlass binary cannot be built");
        profile_dir.join("windlass")
    })
}

/// Around what a process is started: limits, a preloaded library, an address of its own.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The program, such as one of another version; that of this build unless it is set.
    pub program: Option<PathBuf>,
    /// A command that becomes the binary in its turn, such as `prlimit --nofile=64`; the process id stays.
    pub wrapper: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Where a server listens; loopback unless it is set.
    pub host: Option<IpAddr>,
}

/// A child process that is killed when it goes out of scope.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the binary with these arguments; its log goes to stderr.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(args: &[&str]) -> Result<(Process, BufReader<ChildStdout>)> {
        Process::start_in(&Setting::default(), args)
    }

    /// Starts the binary in a setting.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_in(setting: &Setting, args: &[&str]) -> Result<(Process, BufReader<ChildStdout>)> {
        let binary = setting.program.as_deref().unwrap_or_else(|| binary());
        let mut command = match setting.wrapper.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let mut child = command
            .args(args)
            .envs(setting.env.iter().map(|(name, value)| (name, value)))
            .env("WINDLASS_LOG", std::env::var("WINDLASS_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        Ok((Process { child }, BufReader::new(stdout)))
    }

    /// Starts any command.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn(command: &mut Command) -> Result<Process> {
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Process { child })
    }

    /// Takes a child on, to be killed when this goes out of scope.
    #[must_use]
    pub fn adopt(child: Child) -> Process {
        Process { child }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a child has a pid")?;
        kill_process(pid, signal).context("the process is gone")
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the end; an error after `limit`.
    ///
    /// # Errors
    /// When it takes longer.
    pub fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "process {} did not end within {limit:?}", self.pid());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process with its addresses.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// HTTP door.
    pub http: SocketAddr,
    /// Native door.
    pub native: SocketAddr,
    /// Faktory door.
    pub faktory: SocketAddr,
    /// Gossip door.
    pub gossip: Option<SocketAddr>,
    /// In what it runs; what is changed here holds from the next start on.
    pub setting: Setting,
    data_dir: PathBuf,
    extra: Vec<String>,
}

impl Server {
    /// Starts a server on free ports over a data directory, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before it is ready; its log is on stderr.
    pub fn start(data_dir: &Path, extra: &[&str]) -> Result<Server> {
        Server::start_in(Setting::default(), data_dir, extra)
    }

    /// Starts a server in a setting.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_in(setting: Setting, data_dir: &Path, extra: &[&str]) -> Result<Server> {
        let any = SocketAddr::new(setting.host.unwrap_or(Ipv4Addr::LOCALHOST.into()), 0);
        let extra = extra.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        launch(setting, data_dir, &extra, Doors { http: any, native: any, faktory: any, gossip: Some(any) })
    }

    /// Starts again on the same addresses, after [`Server::kill`] or [`Server::stop`].
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> Result<()> {
        let setting = self.setting.clone();
        *self = launch(
            setting,
            &self.data_dir.clone(),
            &self.extra.clone(),
            Doors { http: self.http, native: self.native, faktory: self.faktory, gossip: self.gossip },
        )?;
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// SIGTERM, and waits for an orderly end.
    ///
    /// # Errors
    /// When it takes longer than 20 s or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(Duration::from_secs(20))?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The native address as clients take it.
    #[must_use]
    pub fn address(&self) -> String {
        self.native.to_string()
    }
}

/// Where a server is to listen.
struct Doors {
    http: SocketAddr,
    native: SocketAddr,
    faktory: SocketAddr,
    gossip: Option<SocketAddr>,
}

fn launch(setting: Setting, data_dir: &Path, extra: &[String], doors: Doors) -> Result<Server> {
    let (http, native) = (doors.http.to_string(), doors.native.to_string());
    let faktory = doors.faktory.to_string();
    let gossip = doors.gossip.map_or_else(|| "off".to_owned(), |at| at.to_string());
    let dir = data_dir.to_string_lossy();
    let mut args = vec![
        "--json",
        "server",
        "--data-dir",
        &dir,
        "--http",
        &http,
        "--native",
        &native,
        "--gossip",
        &gossip,
        "--faktory",
        &faktory,
    ];
    args.extend(extra.iter().map(String::as_str));
    let (mut process, mut stdout) = Process::start_in(&setting, &args)?;
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    if line.is_empty() {
        bail!("the server ended before it was ready: {}", process.wait(Duration::from_secs(5))?);
    }
    let ready: serde_json::Value =
        serde_json::from_str(&line).with_context(|| format!("not the ready line: {line}"))?;
    let address = |name: &str| ready[name].as_str().and_then(|text| text.parse().ok());
    Ok(Server {
        process,
        http: address("http").context("no HTTP address")?,
        native: address("native").context("no native address")?,
        faktory: address("faktory").context("no Faktory address")?,
        gossip: address("gossip"),
        setting,
        data_dir: data_dir.to_owned(),
        extra: extra.to_vec(),
    })
}

/// How often a test repeats its faults: `WINDLASS_CHAOS` times, or `default`.
#[must_use]
pub fn cycles(default: u32) -> u32 {
    std::env::var("WINDLASS_CHAOS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
