//! The ports of a node. One that shares its store has them bound once, for relays and for the owner's doors in turn.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use windlass_core::id::NodeName;

use super::descriptors::{Doors, HTTP_WORKERS};
use super::local::{Addrs, Bound, reached};
use super::{NodeConfig, StartError};
use crate::clock::Clock;
use crate::door::{IntroductionKey, Introductions, Port, Tls};
use crate::relay::{Protocol, Relay, RelayConfig, Target, Traffic};
use crate::store::postgres::seat::{Presence, SeatRow};

/// Connections that the system holds for us before we accept them.
const BACKLOG: i32 = 1_024;

/// The ports, bound and not open: peers may connect and wait.
pub(super) struct Ports {
    http: Option<TcpListener>,
    native: Option<TcpListener>,
    faktory: Option<TcpListener>,
    tls: Option<Tls>,
    pub(super) addrs: Addrs,
}

impl Ports {
    /// Takes the addresses. Must run on the arbiter.
    pub(super) fn bind(config: &NodeConfig) -> Result<Ports, StartError> {
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        if let Some(tls) = &tls {
            actix_rt::spawn(tls.clone().follow());
        }
        let http = bind("HTTP", config.http)?;
        let native = bind("the native port", config.native)?;
        let faktory = bind("the Faktory port", config.faktory)?;
        let addr = |port: &Option<TcpListener>| port.as_ref().map(TcpListener::local_addr).transpose();
        let addrs =
            Addrs { http: addr(&http)?, native: addr(&native)?, faktory: addr(&faktory)?, gossip: None };
        Ok(Ports { http, native, faktory, tls, addrs })
    }

    /// The same ports for somebody else, such as a term; they stay bound when that one lets go.
    pub(super) fn share(&self) -> std::io::Result<Ports> {
        let clone = |port: &Option<TcpListener>| port.as_ref().map(TcpListener::try_clone).transpose();
        let (http, native, faktory) = (clone(&self.http)?, clone(&self.native)?, clone(&self.faktory)?);
        Ok(Ports { http, native, faktory, tls: self.tls.clone(), addrs: self.addrs })
    }

    /// Makes them the doors of a node. Must run on its arbiter. `introductions`: by whom peers may be introduced.
    pub(super) fn adopt(self, introductions: Option<&Introductions>) -> std::io::Result<Bound<Port>> {
        let at = |protocol: Protocol| introductions.map(|introductions| introductions.at(protocol.name()));
        let adopt = |port: Option<TcpListener>, protocol| {
            let port = port.map(|port| Port::adopt(port, self.tls.clone(), at(protocol))).transpose()?;
            std::io::Result::Ok(port.map(|port| {
                let addr = port.addr();
                (port, addr)
            }))
        };
        Ok(Bound {
            native: adopt(self.native, Protocol::Native)?,
            faktory: adopt(self.faktory, Protocol::Faktory)?,
            http: self.http,
            tls: self.tls,
            introductions: at(Protocol::Http),
        })
    }
}

/// Where others reach the ports: at `host` if it is given.
pub(super) fn presence(addrs: Addrs, host: Option<&str>) -> Presence {
    let at = |addr: Option<SocketAddr>| addr.map(|addr| reached(addr, host));
    let Addrs { http, native, faktory, .. } = addrs;
    Presence { native: at(native), http: at(http), faktory: at(faktory) }
}

fn bind(door: &'static str, addr: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    let Some(addr) = addr else { return Ok(None) };
    listen(addr).map(Some).map_err(|source| StartError::Bind { door, addr, source })
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    // A restart must not wait until connections of the last run are forgotten by the system.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What all relays of a node have in common.
pub(super) struct House {
    pub(super) node: Arc<str>,
    pub(super) traffic: Traffic,
    pub(super) clock: Clock,
}

/// What a standby has at its ports.
pub(super) struct Relays {
    relays: Vec<(Relay, Protocol, watch::Sender<Option<Target>>)>,
    stop: CancellationToken,
}

impl Relays {
    /// Opens them. A port that cannot be relayed is said and left out: the others serve.
    pub(super) fn open(ports: &Ports, doors: Doors, house: &House) -> Relays {
        let stop = CancellationToken::new();
        let tls = ports.tls.is_some();
        let http = u32::try_from(doors.http.saturating_mul(HTTP_WORKERS)).unwrap_or(u32::MAX);
        let wanted = [
            (&ports.native, Protocol::Native, doors.native),
            (&ports.http, Protocol::Http, http),
            (&ports.faktory, Protocol::Faktory, doors.faktory),
        ];
        let relays = wanted.into_iter().filter_map(|(port, protocol, descriptors)| {
            let (tell, owner) = watch::channel(None);
            let House { node, traffic, clock } = house;
            let (node, traffic, clock) = (Arc::clone(node), traffic.clone(), clock.clone());
            let config = RelayConfig { protocol, tls, owner, node, traffic, clock, descriptors };
            let opened = port.as_ref()?.try_clone().and_then(|port| Relay::open(port, config, &stop));
            match opened {
                Ok(relay) => Some((relay, protocol, tell)),
                Err(error) => {
                    tracing::error!(%error, port = protocol.name(), "a port is not relayed");
                    None
                }
            }
        });
        Relays { relays: relays.collect(), stop: stop.clone() }
    }

    /// Carries connections to whoever owns the shard by this row.
    pub(super) fn follow(&self, row: &SeatRow, me: &NodeName) {
        let owned = row.seat.owner.as_ref().is_some_and(|owner| owner != me);
        let key = row.introduced_with.map(IntroductionKey::from);
        for (_, protocol, tell) in &self.relays {
            let at = match protocol {
                Protocol::Native => &row.presence.native,
                Protocol::Http => &row.presence.http,
                Protocol::Faktory => &row.presence.faktory,
            };
            let target = at.as_deref().filter(|_| owned).map(|at| Target { key, ..Target::plain(at) });
            tell.send_if_modified(|known| {
                let changed = *known != target;
                *known = target;
                changed
            });
        }
    }

    /// Takes no more connections: those that come wait for whoever serves the ports next. Cuts those that are carried.
    pub(super) async fn close(self) {
        self.relays.iter().for_each(|(relay, ..)| relay.hold());
        futures_util::future::join_all(self.relays.iter().map(|(relay, ..)| relay.close())).await;
        self.stop.cancel();
    }
}
