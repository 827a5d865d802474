//! Three nodes over one database, each of either version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use windlass_tests::history::Recorder;
use windlass_tests::http;
use windlass_tests::postgres::Postgres;
use windlass_tests::process::{Server, Setting};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Longest time until a node serves, or another one owns.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs of a version.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// `old` or `new`.
    pub(crate) name: &'static str,
    dir: PathBuf,
}

impl Version {
    pub(crate) fn both(old: &Path, new: &Path) -> [Version; 2] {
        [("old", old), ("new", new)].map(|(name, dir)| Version { name, dir: dir.to_owned() })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

pub(crate) struct Nodes {
    postgres: Postgres,
    nodes: BTreeMap<&'static str, (Server, &'static str)>,
    recorder: Recorder,
    _dir: TempDir,
}

impl Nodes {
    /// Starts all of them.
    pub(crate) fn start(postgres: Postgres, version: &Version, recorder: Recorder) -> Result<Nodes> {
        let dir = tempfile::tempdir()?;
        let (mut nodes, mut seed) = (BTreeMap::new(), "none".to_owned());
        for name in NAMES {
            let url = postgres.url();
            // Beside other tests a worker may take longer to come back than the three seconds that it is given otherwise.
            let args = ["--store", &*url, "--name", name, "--seed", &*seed, "--grace", "10s"];
            let setting = Setting { program: Some(version.program("windlass")), ..Setting::default() };
            let server = Server::start_in(setting, dir.path(), &args)?;
            if seed == "none" {
                seed = server.gossip.context("it gossips")?.to_string();
            }
            nodes.insert(name, (server, version.name));
        }
        recorder.nemesis("server", "start");
        Ok(Nodes { postgres, nodes, recorder, _dir: dir })
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.values().map(|(server, _)| server.address()).collect()
    }

    /// Which version a node is of.
    pub(crate) fn version(&self, name: &str) -> &'static str {
        self.nodes[name].1
    }

    /// The versions of all nodes, the owner's in capitals.
    pub(crate) fn shown(&self) -> String {
        let owner = self.owner().unwrap_or_default();
        let shown = |(name, (_, version)): (&&'static str, &(Server, &'static str))| {
            if **name == *owner { version.to_uppercase() } else { (*version).to_owned() }
        };
        self.nodes.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// Who owns the shard by the database; waits for somebody.
    pub(crate) fn owner(&self) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let owner = self.postgres.sql("SELECT coalesce(owner, '') FROM windlass.shard WHERE id = 0")?;
            if !owner.is_empty() {
                return Ok(owner);
            }
            ensure!(Instant::now() < end, "nobody owns the shard");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All names, the owner last.
    pub(crate) fn standbys_first(&self) -> Result<Vec<String>> {
        let owner = self.owner()?;
        let standbys = NAMES.iter().filter(|name| **name != owner).map(|name| (*name).to_owned());
        Ok(standbys.chain([owner.clone()]).collect())
    }

    /// Whether a version would start on the store as it is.
    pub(crate) fn takes_the_store(&self, version: &Version) -> Result<()> {
        let url = self.postgres.url();
        let checked = Command::new(version.program("windlass")).args(["store", "check", &url]).output()?;
        ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr).trim());
        Ok(())
    }

    /// Stops a node in order and starts it in this version.
    pub(crate) async fn replace(&mut self, name: &str, version: &Version) -> Result<()> {
        let (server, now) = self.nodes.get_mut(name).context("one of the three")?;
        self.recorder.nemesis("server", "term");
        server.stop()?;
        server.setting.program = Some(version.program("windlass"));
        server.restart()?;
        *now = version.name;
        self.recorder.nemesis("server", "start");
        self.is_ready(name).await
    }

    async fn is_ready(&self, name: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !http::get(self.nodes[name].0.http, "/readyz").is_ok_and(|(status, _)| status == 200) {
            ensure!(Instant::now() < end, "{name} is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Kills the owner, waits for the next one, and starts it again.
    pub(crate) async fn kill_the_owner(&mut self) -> Result<()> {
        let owner = self.owner()?;
        self.recorder.nemesis("server", "kill");
        self.nodes.get_mut(&*owner).context("one of the three")?.0.kill()?;
        let end = Instant::now() + PATIENCE;
        while self.owner()? == owner {
            if Instant::now() > end {
                bail!("nobody has taken over from {owner}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.nodes.get_mut(&*owner).context("one of the three")?.0.restart()?;
        self.recorder.nemesis("server", "start");
        self.is_ready(&owner).await
    }
}
