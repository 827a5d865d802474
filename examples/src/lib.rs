//! Programs that end and assert their own result; see the folder `examples` of this package. Here is what they share: a server to
//! talk to, and queues that no earlier run has used.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use windlass_scheduler::node::{Node, NodeConfig, RunningNode};
use windlass_scheduler::store::StoreConfig;

/// The code in the README is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// Longest wait of an example for anything; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server for one example.
pub struct Server {
    address: String,
    /// The node and its data, unless the server is somebody else's.
    _own: Option<(RunningNode, TempDir)>,
}

impl Server {
    /// The server that `WINDLASS_SERVER` names, or a node in this process with fresh data and free ports on loopback.
    ///
    /// # Errors
    /// When the node cannot start.
    pub fn start() -> anyhow::Result<Server> {
        if let Ok(address) = std::env::var("WINDLASS_SERVER") {
            println!("using the server at {address}");
            return Ok(Server { address, _own: None });
        }
        let data = TempDir::with_prefix("windlass-example-").context("no temporary directory")?;
        let free = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut config = NodeConfig::new(StoreConfig::sled(data.path().join("data")));
        config.native = free;
        config.gossip = free;
        config.http = None;
        config.faktory = None;
        let node = Node::start(config).context("the server does not start")?;
        let address = node.native_addr().context("the server has no native port")?.to_string();
        println!("a server for this example listens on {address}");
        Ok(Server { address, _own: Some((node, data)) })
    }

    /// Where clients and workers connect.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }
}

/// A queue name of this run alone, so that an example can run twice against one server.
#[must_use]
pub fn fresh_queue(name: &str) -> String {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("example-{name}-{}-{}", std::process::id(), since.as_millis() % 1_000_000)
}
