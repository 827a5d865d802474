//! What a node is told at its start: plain data.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use windlass_core::id::NodeName;
use windlass_core::limits;

use super::StartError;
use crate::access::AdminToken;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::door::TlsFiles;
use crate::faktory::Password;
use crate::store::StoreConfig;

/// Port of the Faktory Work Protocol.
pub const FAKTORY_PORT: u16 = 7_419;
/// Port of pages and HTTP API.
pub const HTTP_PORT: u16 = 7_420;
/// Port of the native protocol.
pub const NATIVE_PORT: u16 = 7_421;
/// Port of the gossip, UDP.
pub const GOSSIP_PORT: u16 = 7_422;

/// Bytes of memory that a node may take for its jobs, and how they are shared out. What a request under way needs comes on
/// top, within bounds of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory(pub u64);

impl Memory {
    /// The default: 256 MiB.
    pub const DEFAULT: Memory = Memory(256 * 1024 * 1024);
    /// The least that makes sense: 32 MiB.
    pub const MIN: Memory = Memory(32 * 1024 * 1024);

    /// A sixteenth for recent changes: at worst four times as much is held while a checkpoint runs.
    #[must_use]
    pub fn overlay_bytes(self) -> usize {
        self.part(16)
    }

    /// A sixteenth for sled's cache.
    #[must_use]
    pub fn sled_cache_bytes(self) -> u64 {
        self.0 / 16
    }

    /// An eighth for waiting jobs of all queues.
    #[must_use]
    pub fn window_bytes(self) -> usize {
        self.part(8)
    }

    /// A quarter for batches that wait for the store's writer; above half of it new work is answered with `Busy`. Less would let
    /// producers of large payloads meet that answer so often that some of them starve.
    #[must_use]
    pub fn waiting_bytes(self) -> usize {
        self.part(4)
    }

    /// A quarter for jobs on their way from peers into queues.
    #[must_use]
    pub fn enqueue_bytes(self) -> usize {
        self.part(4)
    }

    fn part(self, divisor: u64) -> usize {
        usize::try_from(self.0 / divisor).unwrap_or(usize::MAX)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::DEFAULT
    }
}

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where data is kept. Has no default.
    pub store: StoreConfig,
    /// Address of pages and HTTP API; port 0 takes a free one. Defaults to `127.0.0.1:7420`.
    pub http: Option<SocketAddr>,
    /// Address of the native port. Defaults to `127.0.0.1:7421`.
    pub native: Option<SocketAddr>,
    /// Address of the Faktory Work Protocol. Defaults to `127.0.0.1:7419`.
    pub faktory: Option<SocketAddr>,
    /// What Faktory clients must know. Defaults to nothing: everybody who can reach the port is let in.
    pub faktory_password: Option<Password>,
    /// Address of the gossip; without one, workers are watched by heartbeats alone. Defaults to `127.0.0.1:7422`.
    pub gossip: Option<SocketAddr>,
    /// Only members with the same cluster id hear each other. Defaults to `windlass`.
    pub cluster: String,
    /// Name of this node among those that share a store. Defaults to host name and native port.
    pub name: Option<NodeName>,
    /// Host by which other nodes reach this one. Defaults to the addresses of the doors.
    pub advertise: Option<String>,
    /// Names under which pages and HTTP API may be asked, beside addresses, loopback names and `advertise`. Defaults to none.
    pub hosts: Vec<String>,
    /// Gossip members to start from, `host:port`. Defaults to none: workers come to the server.
    pub seeds: Vec<String>,
    /// Listen on addresses that others can reach although nothing keeps them out. Defaults to no.
    pub insecure_bind: bool,
    /// Certificate and key of the server: with them the native port, HTTP and Faktory speak TLS and nothing else. Defaults to none.
    pub tls: Option<TlsFiles>,
    /// A token that may do everything, beside those of the store. Defaults to none; without any token, everybody who can reach a
    /// door is let in.
    pub admin_token: Option<AdminToken>,
    /// A token for what runs within this process; it does not make others need one. Defaults to none.
    pub own_token: Option<AdminToken>,
    /// Pages and HTTP API change nothing. Defaults to no.
    pub read_only_dashboard: bool,
    /// Names the environment on pages. Defaults to nothing.
    pub badge: Option<String>,
    /// Memory for what the node holds of its jobs; see [`Memory`]. Defaults to 256 MiB.
    pub memory: Memory,
    /// Silence after which a worker loses its leases, in milliseconds. Defaults to 8,000.
    pub lease_ms: u64,
    /// Interval of a worker's heartbeats, in milliseconds. Defaults to 1,000.
    pub heartbeat_ms: u64,
    /// Time a lost session has to come back with its leases, in milliseconds. Defaults to 3,000.
    pub resume_grace_ms: u64,
    /// The clock. Defaults to the system's.
    pub clock: Clock,
    /// Where random numbers come from. Defaults to the system.
    pub chance: Chance,
}

impl NodeConfig {
    /// The defaults: all doors on loopback, at their standard ports.
    #[must_use]
    pub fn new(store: StoreConfig) -> NodeConfig {
        let loopback = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        NodeConfig {
            store,
            http: loopback(HTTP_PORT),
            native: loopback(NATIVE_PORT),
            faktory: loopback(FAKTORY_PORT),
            faktory_password: None,
            gossip: loopback(GOSSIP_PORT),
            cluster: "windlass".to_owned(),
            name: None,
            advertise: None,
            hosts: Vec::new(),
            seeds: Vec::new(),
            insecure_bind: false,
            tls: None,
            admin_token: None,
            own_token: None,
            read_only_dashboard: false,
            badge: None,
            memory: Memory::default(),
            lease_ms: limits::LEASE_MS_DEFAULT,
            heartbeat_ms: limits::HEARTBEAT_MS_DEFAULT,
            resume_grace_ms: limits::RESUME_GRACE_MS_DEFAULT,
            clock: Clock::system(),
            chance: Chance::system(),
        }
    }

    /// Checks what can be known to be wrong before anything is opened.
    ///
    /// # Errors
    /// [`StartError::Timing`].
    pub fn validate(&self) -> Result<(), StartError> {
        if self.heartbeat_ms == 0 || self.lease_ms < 2 * self.heartbeat_ms {
            return Err(StartError::Timing(format!(
                "a lease of {} ms does not survive one lost heartbeat of {} ms; make it at least twice as long",
                self.lease_ms, self.heartbeat_ms
            )));
        }
        Ok(())
    }

    /// Refuses doors that others can reach and that nothing guards. `closed`: the store has access tokens, or there is one in
    /// these settings; so this is known once the store is open.
    ///
    /// # Errors
    /// [`StartError::Exposed`].
    pub fn check_exposure(&self, closed: bool) -> Result<(), StartError> {
        let doors = [
            ("HTTP", self.http, closed),
            ("the native port", self.native, closed),
            ("the Faktory port", self.faktory, closed || self.faktory_password.is_some()),
            ("the gossip", self.gossip, closed),
        ];
        for (door, addr, guarded) in doors {
            if let Some(addr) = addr.filter(|addr| !addr.ip().is_loopback())
                && !guarded
                && !self.insecure_bind
            {
                return Err(StartError::Exposed { door, addr });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_door_needs_a_guard_or_insistence() {
        let mut config = NodeConfig::new(StoreConfig::memory());
        assert!(config.check_exposure(false).is_ok());
        config.native = Some("0.0.0.0:7421".parse().unwrap());
        let exposed = |config: &NodeConfig, closed| match config.check_exposure(closed) {
            Err(StartError::Exposed { door, .. }) => Some(door),
            _ => None,
        };
        assert_eq!((exposed(&config, false), exposed(&config, true)), (Some("the native port"), None));
        config.native = None;
        config.faktory = Some("0.0.0.0:7419".parse().unwrap());
        assert_eq!((exposed(&config, false), exposed(&config, true)), (Some("the Faktory port"), None));
        config.faktory_password = Password::new("secret");
        assert_eq!(exposed(&config, false), None);
        config.http = Some("192.0.2.1:80".parse().unwrap());
        assert_eq!((exposed(&config, false), exposed(&config, true)), (Some("HTTP"), None));
        config.insecure_bind = true;
        assert_eq!(exposed(&config, false), None);
    }

    #[test]
    fn a_lease_outlives_a_lost_heartbeat() {
        let mut config = NodeConfig::new(StoreConfig::memory());
        assert!(config.validate().is_ok());
        config.heartbeat_ms = config.lease_ms;
        assert!(matches!(config.validate(), Err(StartError::Timing(_))));
    }
}
