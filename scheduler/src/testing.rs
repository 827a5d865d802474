//! For tests of applications: a whole server inside the test's process, on the memory store, with a clock that the test moves.
//!
//! ```no_run
//! use windlass_scheduler::testing::TestServer;
//!
//! let server = TestServer::start();
//! println!("connect a client to {}", server.native_addr());
//! // A job with a delay of an hour is due now:
//! server.advance_ms(3_600_000);
//! ```

use std::net::SocketAddr;

use windlass_core::time::Timestamp;

use crate::api::ApiHandle;
use crate::clock::ManualClock;
use crate::node::{Node, NodeConfig, RunningNode, StartError};
use crate::store::StoreConfig;

/// The instant at which a test server's clock begins: 2026-01-05T12:00:00Z, a Monday.
pub const CLOCK_START: Timestamp = Timestamp(1_767_614_400_000);

/// A server for one test. Ends with its scope.
pub struct TestServer {
    node: RunningNode,
    clock: Option<ManualClock>,
    native: SocketAddr,
}

impl TestServer {
    /// A server on the memory store, all ports free ones on loopback, no gossip, the clock standing still at [`CLOCK_START`].
    ///
    /// # Panics
    /// When the system gives no port or no thread.
    #[must_use]
    pub fn start() -> TestServer {
        let clock = ManualClock::new(CLOCK_START);
        let mut config = TestServer::config();
        config.clock = clock.clock();
        let mut server = TestServer::with(config).expect("loopback has free ports");
        server.clock = Some(clock);
        server
    }

    /// The settings of [`start`](TestServer::start), with the system's clock, to be changed and given to [`with`](TestServer::with).
    #[must_use]
    pub fn config() -> NodeConfig {
        let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut config = NodeConfig::new(StoreConfig::memory());
        config.http = free;
        config.native = free;
        config.faktory = None;
        config.gossip = None;
        config
    }

    /// A server with settings of the test's own.
    ///
    /// # Errors
    /// As [`Node::start`]; also when the settings have no native port.
    pub fn with(config: NodeConfig) -> Result<TestServer, StartError> {
        let node = Node::start(config)?;
        let native = node
            .native_addr()
            .ok_or_else(|| StartError::Failed("a test server needs its native port".to_owned()))?;
        Ok(TestServer { node, clock: None, native })
    }

    /// Where clients and workers connect.
    #[must_use]
    pub fn native_addr(&self) -> SocketAddr {
        self.native
    }

    /// Where pages and HTTP API are, as `http://…`.
    #[must_use]
    pub fn http_url(&self) -> Option<String> {
        self.node.http_addr().map(|addr| format!("http://{addr}"))
    }

    /// Carries out requests without a socket.
    #[must_use]
    pub fn api(&self) -> ApiHandle {
        self.node.api()
    }

    /// The node itself.
    #[must_use]
    pub fn node(&self) -> &RunningNode {
        &self.node
    }

    /// What the server's wall clock shows; `None` when it is the system's.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.clock().now().wall)
    }

    /// Moves the wall clock forward: what is due by then runs now. Leases and heartbeats go on in real time.
    ///
    /// # Panics
    /// When the server was started with the system's clock.
    pub fn advance_ms(&self, ms: u64) {
        self.clock
            .as_ref()
            .expect("only a server from TestServer::start has a clock that moves")
            .advance_ms(ms);
    }

    /// Stops in order.
    pub async fn stop(&self) {
        self.node.stop().await;
    }
}
