//! What a relay tells the owner before a peer's first byte: who the peer is, in the format of HAProxy's PROXY protocol, version 2.
//!
//! ```text
//!   signature (12) | 0x21 | family (1) | length (2) | peer, address that it came to (12 or 36) | 0xE7 | length (2) |
//!       version (1) | milliseconds since the epoch (8) | HMAC-SHA-256 over all that stands before, and the name of the door (32)
//! ```
//!
//! Anybody can write such a header, so the owner believes only those whose authenticator is right. Its key is the nonce of the owner's
//! claim, which stands in the database: who can read it there could as well own the shard. The time keeps a header that somebody has
//! overheard from being of use for long; one that is right and old names nobody, and the connection counts as the relay's own, so that
//! a wrong clock costs names and no service.
//!
//! No protocol of ours begins like this, so a connection without an introduction is known by its first byte. Whoever relays to a node
//! that is a relay itself by now is introduced by both; the words next to the peer's count.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use windlass_core::cluster::Nonce;
use windlass_core::time::Timestamp;

use super::hush::Hush;
use super::tls::SILENCE;
use crate::clock::Clock;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a connection that is carried for somebody else.
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Signature, command, family, length.
const HEAD_BYTES: usize = 16;
/// A type that the format leaves to its users.
const PROOF_TYPE: u8 = 0xe7;
const PROOF_VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
/// Version, time, authenticator.
const PROOF_BYTES: u8 = 1 + 8 + MAC_BYTES as u8;
/// With its type and length.
const TLV_BYTES: usize = 3 + PROOF_BYTES as usize;
/// The longest introduction: two addresses of IPv6.
const BYTES_MAX: usize = HEAD_BYTES + 36 + TLV_BYTES;
/// How far the clocks of two nodes may be apart.
const AGE_MS_MAX: u64 = 60_000;
/// Wait for the rest of one, which comes in the same packet as a rule.
const NAP: Duration = Duration::from_millis(20);
/// Keeps these authenticators apart from whatever else the key may be used for.
const PURPOSE: &[u8] = b"windlass introduction 1";

/// What nodes of a cluster know of an owner's claim, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroductionKey([u8; 16]);

impl std::fmt::Debug for IntroductionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntroductionKey")
    }
}

impl From<Nonce> for IntroductionKey {
    fn from(nonce: Nonce) -> IntroductionKey {
        IntroductionKey(nonce.0.to_be_bytes())
    }
}

impl IntroductionKey {
    fn mac(&self, door: &str, header: &[u8]) -> Hmac<Sha256> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0);
        let mut mac = mac.expect("a key of any length is taken");
        mac.update(PURPOSE);
        mac.update(door.as_bytes());
        mac.update(header);
        mac
    }

    /// Introduces `peer`, who came to the relay at `at`, to the owner's `door`.
    #[must_use]
    pub fn introduce(&self, door: &str, peer: SocketAddr, at: SocketAddr, now: Timestamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES_MAX);
        out.extend_from_slice(SIGNATURE);
        out.push(PROXY);
        match (peer.ip(), at.ip()) {
            (IpAddr::V4(peer), IpAddr::V4(at)) => {
                out.extend_from_slice(&[TCP4, 0, (12 + TLV_BYTES) as u8]);
                out.extend_from_slice(&peer.octets());
                out.extend_from_slice(&at.octets());
            }
            (peer, at) => {
                out.extend_from_slice(&[TCP6, 0, (36 + TLV_BYTES) as u8]);
                out.extend_from_slice(&v6(peer).octets());
                out.extend_from_slice(&v6(at).octets());
            }
        }
        out.extend_from_slice(&peer.port().to_be_bytes());
        out.extend_from_slice(&at.port().to_be_bytes());
        out.extend_from_slice(&[PROOF_TYPE, 0, PROOF_BYTES, PROOF_VERSION]);
        out.extend_from_slice(&now.0.to_be_bytes());
        let mac = self.mac(door, &out).finalize().into_bytes();
        out.extend_from_slice(&mac);
        out
    }
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Too few to say.
    Unfinished,
    /// The peer's own words.
    Peer,
    /// An introduction of so many bytes. `None`: it is right, and too old to name anybody.
    Introduced(usize, Option<SocketAddr>),
    /// An introduction of somebody who has no right to make one.
    Wrong(&'static str),
}

/// The part of an owner that believes relays, or does not.
#[derive(Debug, Clone)]
pub struct Introductions {
    door: &'static str,
    keys: Arc<[IntroductionKey]>,
    clock: Clock,
    hush: Arc<Hush>,
}

impl Introductions {
    /// Believes those that were made with one of these keys. The claim before this owner's belongs to them: a relay hears of a change
    /// a moment later.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = IntroductionKey>, clock: Clock) -> Introductions {
        Introductions { door: "", keys: keys.into_iter().collect(), clock, hush: Arc::default() }
    }

    /// The same for one door: an introduction is for the door that it was made for.
    #[must_use]
    pub fn at(&self, door: &'static str) -> Introductions {
        Introductions { door, ..self.clone() }
    }

    fn look(&self, said: &[u8]) -> Look {
        let signature = said.len().min(SIGNATURE.len());
        if said[..signature] != SIGNATURE[..signature] {
            return Look::Peer;
        }
        let Some(head) = said.first_chunk::<HEAD_BYTES>() else { return Look::Unfinished };
        let addresses = match (head[12], head[13]) {
            (PROXY, TCP4) => 12,
            (PROXY, TCP6) => 36,
            _ => return Look::Wrong("it is for no connection over TCP"),
        };
        let bytes = HEAD_BYTES + addresses + TLV_BYTES;
        if HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]])) != bytes {
            return Look::Wrong("it has no authenticator");
        }
        if said.len() < bytes {
            return Look::Unfinished;
        }
        let (body, mac) = said[..bytes].split_at(bytes - MAC_BYTES);
        let (addresses, proof) = body[HEAD_BYTES..].split_at(addresses);
        let [PROOF_TYPE, 0, PROOF_BYTES, PROOF_VERSION, time @ ..] = proof else {
            return Look::Wrong("it has no authenticator");
        };
        if !self.keys.iter().any(|key| key.mac(self.door, body).verify_slice(mac).is_ok()) {
            return Look::Wrong("its authenticator is wrong");
        }
        let made = time.try_into().map_or(0, u64::from_be_bytes);
        let fresh = self.clock.system_wall().0.abs_diff(made) <= AGE_MS_MAX;
        Look::Introduced(bytes, fresh.then(|| source(addresses)))
    }

    fn doubt(&self, from: SocketAddr, why: &str) {
        if let Some(left_out) = self.hush.pass() {
            tracing::warn!(door = self.door, peer = %from, why, left_out, "introduction not believed");
        }
    }

    /// Who the peer is, after an introduction by `from` that names it or is too old.
    fn named(&self, from: SocketAddr, named: Option<SocketAddr>) -> SocketAddr {
        if named.is_none() {
            self.doubt(
                from,
                "it is old, or the clocks of the nodes differ; the connection counts as the relay's own",
            );
        }
        named.unwrap_or(from)
    }

    /// Takes introductions from the front of `stream`, and nothing else. `None`: nothing was said for so long that nobody is going to be
    /// introduced.
    ///
    /// # Errors
    /// When the peer is gone, or introduced by somebody who may not.
    pub(crate) async fn take(
        &self,
        stream: &mut TcpStream,
        from: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        let (mut peer, mut said) = (from, [0; BYTES_MAX]);
        loop {
            let Ok(peeked) = timeout(SILENCE, stream.peek(&mut said)).await else { return Ok(None) };
            let peeked = peeked?;
            if peeked == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match self.look(&said[..peeked]) {
                Look::Unfinished => tokio::time::sleep(NAP).await,
                Look::Peer => return Ok(Some(peer)),
                Look::Introduced(bytes, named) => {
                    stream.read_exact(&mut said[..bytes]).await?;
                    peer = self.named(peer, named);
                }
                Look::Wrong(why) => return Err(refused(peer, why)),
            }
        }
    }
}

fn refused(peer: SocketAddr, why: &str) -> io::Error {
    io::Error::other(format!(
        "{peer} brings a header of the PROXY protocol that no node of this cluster has made: {why}"
    ))
}

fn source(addresses: &[u8]) -> SocketAddr {
    let half = (addresses.len() - 4) / 2;
    let ip = match (<[u8; 4]>::try_from(&addresses[..half]), <[u8; 16]>::try_from(&addresses[..half])) {
        (Ok(v4), _) => IpAddr::from(v4),
        (_, Ok(v6)) => IpAddr::from(v6),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, u16::from_be_bytes([addresses[2 * half], addresses[2 * half + 1]]))
}

/// Where a connection comes from, as far as is known.
#[derive(Debug, Clone)]
pub struct Origin {
    peer: SocketAddr,
    introductions: Option<Introductions>,
}

impl Origin {
    /// Nobody introduces this peer, or it was introduced already.
    #[must_use]
    pub fn direct(peer: SocketAddr) -> Origin {
        Origin { peer, introductions: None }
    }

    /// The peer may be a relay that introduces somebody with its first bytes.
    #[must_use]
    pub fn open(peer: SocketAddr, introductions: Option<Introductions>) -> Origin {
        Origin { peer, introductions }
    }

    /// The peer.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads until it is known who the peer is, and takes introductions out of `buffer`. What else was read stays there.
    ///
    /// # Errors
    /// As the reader; `UnexpectedEof` when it ends; another one for an introduction by somebody who may not make one, which was logged.
    pub(crate) async fn settle(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> io::Result<()> {
        let Some(introductions) = self.introductions.take() else { return Ok(()) };
        loop {
            match introductions.look(buffer) {
                Look::Unfinished => {
                    if reader.read_buf(buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Look::Peer => return Ok(()),
                Look::Introduced(bytes, named) => {
                    buffer.advance(bytes);
                    self.peer = introductions.named(self.peer, named);
                }
                Look::Wrong(why) => {
                    introductions.doubt(self.peer, why);
                    return Err(refused(self.peer, why));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "introduction_test.rs"]
mod tests;
