//! The ports of a standby: three relays on a thread of their own, steered by the test in the place of a supervisor.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use windlass_scheduler::clock::Clock;
use windlass_scheduler::node::{Node, NodeConfig, RunningNode};
use windlass_scheduler::relay::{Protocol, Relay, RelayConfig, Target, Traffic};
use windlass_scheduler::store::StoreConfig;
use windlass_scheduler::testing::TestServer;

const PROTOCOLS: [Protocol; 3] = [Protocol::Native, Protocol::Http, Protocol::Faktory];

pub(crate) struct Standby {
    pub(crate) native: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) faktory: SocketAddr,
    steers: Vec<watch::Sender<Option<Target>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Standby {
    /// A standby that knows no owner.
    pub(crate) fn start() -> Standby {
        let listeners = PROTOCOLS.map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("a listener that does not block");
            listener
        });
        let [native, http, faktory] =
            [0, 1, 2].map(|index: usize| listeners[index].local_addr().expect("an address"));
        let (steers, owners): (Vec<_>, Vec<_>) = PROTOCOLS.map(|_| watch::channel(None)).into_iter().unzip();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let parts = PROTOCOLS.into_iter().zip(listeners).zip(owners);
                let relays = parts.map(|((protocol, listener), owner)| {
                    let (node, traffic, clock) = ("standby".into(), Traffic::default(), Clock::system());
                    let config =
                        RelayConfig { protocol, tls: false, owner, node, traffic, clock, descriptors: 1_000 };
                    Relay::open(listener, config, &stopped).expect("a relay")
                });
                let relays: Vec<Relay> = relays.collect();
                stopped.cancelled().await;
                for relay in &relays {
                    relay.close().await;
                }
            });
        });
        Standby { native, http, faktory, steers, stop, thread: Some(thread) }
    }

    /// Who owns the queues from now on.
    pub(crate) fn follow(&self, owner: Option<&RunningNode>) {
        self.follow_at(owner.map(|node| [node.native_addr(), node.http_addr(), node.faktory_addr()]));
    }

    /// The same by addresses: native, HTTP, Faktory.
    pub(crate) fn follow_at(&self, owner: Option<[Option<SocketAddr>; 3]>) {
        let owner = owner.unwrap_or_default();
        for (steer, at) in self.steers.iter().zip(owner) {
            steer.send_replace(at.map(|at| Target::plain(at.to_string())));
        }
    }

    /// The native address as clients take it.
    pub(crate) fn address(&self) -> String {
        self.native.to_string()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A node over this directory, with all doors and the gossip at free ports.
pub(crate) fn node(dir: &std::path::Path) -> RunningNode {
    node_at(dir, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// The same with its native port at this address.
pub(crate) fn node_at(dir: &std::path::Path, native: SocketAddr) -> RunningNode {
    let free = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (store, native) = (StoreConfig::sled(dir), Some(native));
    let config = NodeConfig { store, native, faktory: free, gossip: free, ..TestServer::config() };
    Node::start(config).expect("the node starts")
}
