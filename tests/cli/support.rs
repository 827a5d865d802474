//! Finding the binary, running it, and servers that end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use windlass_tests::process::binary;

/// Longest time for anything that a test waits for; only a failing test takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server on `native` alone, over `data` in `dir`: for starts that are to be refused.
pub(crate) fn lone_server(native: &str, dir: &Path) -> Command {
    let mut command = windlass(&["server", "--http", "off", "--gossip", "off", "--faktory", "off"]);
    command.args(["--native", native, "--data-dir", "data"]).current_dir(dir);
    command
}

/// A command without the surroundings of whoever runs the tests.
pub(crate) fn windlass(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("WINDLASS_")) {
            command.env_remove(name);
        }
    }
    command
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            err: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Fails the test unless the command ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Said {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Fails the test unless the command ended with `code` and one line on stderr.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert_eq!(self.err.trim_end().lines().count(), 1, "an error is one line: {}", self.err);
        self
    }

    /// The only JSON value on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }

    /// All JSON lines on stdout.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Said {
    Said::of(command.output().expect("the command runs"))
}

/// Runs `windlass ARGS` in `dir`.
pub(crate) fn run_in(dir: &Path, args: &[&str]) -> Said {
    let mut command = windlass(args);
    command.current_dir(dir);
    run(command)
}

/// Runs a command with `input` on stdin.
pub(crate) fn run_with_input(mut command: Command, input: &[u8]) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // A command that fails early closes its end, which is its right.
    let writer = std::thread::spawn(move || _ = stdin.write_all(&input));
    let said = Said::of(child.wait_with_output().expect("the command ends"));
    writer.join().expect("the writer ends");
    said
}

/// A long-running command; killed by its id when dropped.
pub(crate) struct Process {
    child: Child,
    /// Its first line on stdout, which says where it can be reached.
    pub(crate) ready: Value,
    rest: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Starts a command that prints a JSON line when it is up.
    pub(crate) fn start(mut command: Command) -> Process {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut rest = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        rest.read_line(&mut line).expect("stdout can be read");
        let Ok(ready) = serde_json::from_str(&line) else {
            let mut err = String::new();
            _ = child.kill();
            _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
            panic!("the process is not ready: {line:?}, stderr: {err}");
        };
        Process { child, ready, rest }
    }

    /// One of its addresses.
    pub(crate) fn address(&self, door: &str) -> String {
        self.ready[door].as_str().unwrap_or_else(|| panic!("no {door} in {}", self.ready)).to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("the child is ours and lives");
    }

    /// Waits until it has said `text` on stderr.
    pub(crate) fn said_on_stderr(mut self, text: &str) -> Process {
        let pipe = self.child.stderr.as_mut().expect("stderr is piped");
        let mut said = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).contains(text) {
            // Byte by byte, so that nothing behind the text is taken away from whoever reads on.
            assert_eq!(
                pipe.read(&mut byte).expect("stderr can be read"),
                1,
                "{}",
                String::from_utf8_lossy(&said)
            );
            said.push(byte[0]);
        }
        self
    }

    /// Stops it in order; its exit code, and what it said on stderr.
    pub(crate) fn stop(self) -> (i32, String) {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits for its end; its exit code, and what it said on stderr.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let mut out = String::new();
        _ = self.rest.read_to_string(&mut out);
        let mut err = String::new();
        _ = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
        let status = self.child.wait().expect("the child ends");
        (status.code().unwrap_or(-1), err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Harmless for one that has ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A server on free ports with a store of its own.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        let process = Server::in_dir(dir.path());
        Server { process, dir }
    }

    /// A server on the store in `dir/data`.
    pub(crate) fn in_dir(dir: &Path) -> Process {
        let mut command = windlass(&[
            "server",
            "--json",
            "--http",
            "127.0.0.1:0",
            "--native",
            "127.0.0.1:0",
            "--gossip",
            "off",
            "--faktory",
            "off",
        ]);
        command.args(["--data-dir", "data"]).current_dir(dir);
        Process::start(command)
    }

    pub(crate) fn native(&self) -> String {
        self.process.address("native")
    }

    /// Runs a client command against this server.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        run(self.command(args))
    }

    /// A client command against this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = windlass(args);
        command.env("WINDLASS_SERVER", self.native()).current_dir(self.dir.path());
        command
    }

    /// A worker for shell commands on this server.
    pub(crate) fn worker(&self, args: &[&str]) -> Process {
        let mut command = self.command(&["worker", "run", "--shell", "--json"]);
        command.args(args);
        Process::start(command)
    }
}

/// Asks until the answer is there.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        // Each question starts a process, which is pause enough.
    }
}

/// Whether no process has this process group any more; field 5 of `stat`.
pub(crate) fn group_is_gone(group: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc");
    !processes.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok()).any(
        |stat| {
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            fields.split_whitespace().nth(2) == Some(group) && fields.split_whitespace().next() != Some("Z")
        },
    )
}
