//! Where servers are: `host:port` or `tls://host:port`, several separated by commas, tried in turn; and what a server has told of
//! the other nodes of its cluster.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::pki_types::ServerName;
use windlass_core::limits::{NODE_ADDRESS_BYTES_MAX, NODES_TOLD_MAX};
use windlass_core::wire::Nodes;

use crate::error::Error;
use crate::tls::Tls;

/// Most addresses in one list: more is a mistake in a configuration.
const ADDRESSES_MAX: usize = 64;
/// What stands before an address that is spoken to under TLS.
const SCHEME: &str = "tls://";

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// `host:port`; the name is looked up anew at every attempt.
    pub(crate) name: String,
    /// Who the server has to prove to be, under TLS.
    pub(crate) tls: Option<(Tls, ServerName<'static>)>,
}

/// Where a connection leads.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    /// As it was dialled.
    pub(crate) address: Address,
    /// The other end, which may be that of a relay.
    pub(crate) peer: SocketAddr,
}

/// One to ask, in a round.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) address: Address,
    /// Its place in the list that was given.
    pub(crate) place: Option<usize>,
    /// The cluster that has to be there; whoever was named by the user is believed without.
    pub(crate) cluster: Option<[u8; 16]>,
    /// It was the owner by the last word, and may be gone by now: the others are not to wait for it long.
    pub(crate) is_guess: bool,
}

/// What a server has told of the nodes.
#[derive(Debug, Default)]
struct Learnt {
    told: Option<Nodes>,
    owner: Option<Address>,
    others: Vec<Address>,
}

/// A list of servers, and with which of them the next round begins: behind the one that served last. A server that was lost may
/// take the next connection and stand still all the same, so another one is asked first.
#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<Address>,
    next: AtomicUsize,
    /// `None`: nothing is to be learnt.
    learnt: Option<Mutex<Learnt>>,
}

impl Addresses {
    /// Reads a list. A CA file means TLS for all of them, whether they say so or not: whoever names one must not be talked to
    /// in the clear by a forgotten word.
    pub(crate) fn parse(text: &str, ca: Option<&Path>) -> Result<Addresses, Error> {
        let list: Vec<&str> = text.split(',').map(str::trim).collect();
        if list.len() > ADDRESSES_MAX {
            return Err(Error::BadAddress(format!(
                "a list of {} addresses (at most {ADDRESSES_MAX})",
                list.len()
            )));
        }
        let hosts: Vec<&str> = list.iter().map(|part| host(part)).collect::<Result<_, _>>()?;
        let secret = ca.is_some() || list.iter().any(|part| part.starts_with(SCHEME));
        let tls = if secret { Some(Tls::new(ca)?) } else { None };
        let address = |(part, host): (&&str, &&str)| {
            let name = part.strip_prefix(SCHEME).unwrap_or(part).to_owned();
            let tls = match &tls {
                Some(tls) if ca.is_some() || part.starts_with(SCHEME) => {
                    let proved = ServerName::try_from((*host).to_owned());
                    Some((tls.clone(), proved.map_err(|_| Error::BadAddress((*part).to_owned()))?))
                }
                _ => None,
            };
            Ok(Address { name, tls })
        };
        let list = list.iter().zip(&hosts).map(address).collect::<Result<_, Error>>()?;
        Ok(Addresses { list, next: AtomicUsize::new(0), learnt: Some(Mutex::default()) })
    }

    /// Whether other nodes are learnt from those of the list, which they are unless this is called.
    pub(crate) fn following(mut self, follow: bool) -> Addresses {
        self.learnt = follow.then(Mutex::default);
        self
    }

    fn learnt(&self) -> Option<MutexGuard<'_, Learnt>> {
        // Plain data: a panic of somebody else cannot leave it half changed in a way that matters.
        self.learnt.as_ref().map(|learnt| learnt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of them once: the owner by the last word, those that were given, those that were learnt.
    pub(crate) fn round(&self) -> Vec<Candidate> {
        let next = self.next.load(Ordering::Relaxed) % self.list.len();
        let (before, behind) = self.list.split_at(next);
        let given = behind.iter().chain(before);
        let learnt = self.learnt();
        let owner = learnt.iter().filter_map(|learnt| learnt.owner.as_ref());
        let others = learnt.iter().flat_map(|learnt| &learnt.others);
        let told = learnt.as_ref().and_then(|learnt| learnt.told.as_ref());
        let mut round: Vec<Candidate> = Vec::new();
        for (address, is_guess) in owner.map(|a| (a, true)).chain(given.chain(others).map(|a| (a, false))) {
            if round.iter().any(|known| known.address.is_like(address)) {
                continue;
            }
            let place = self.list.iter().position(|given| given.is_like(address));
            let cluster = told.filter(|_| place.is_none()).map(|told| told.cluster);
            round.push(Candidate { address: address.clone(), place, cluster, is_guess });
        }
        round
    }

    /// Takes what the server at the other end says about the nodes.
    pub(crate) fn learn(&self, nodes: &Nodes, here: &Here) {
        let Some(mut learnt) = self.learnt() else { return };
        if learnt.told.as_ref() == Some(nodes) && learnt.owner.is_some() {
            return;
        }
        let others = nodes.others.iter().take(NODES_TOLD_MAX);
        learnt.others = others.filter_map(|node| here.told(&node.native)).collect();
        learnt.owner = here.told(&nodes.owner.native);
        learnt.told = Some(nodes.clone());
    }

    /// Takes the word of an owner that gives its seat up.
    pub(crate) fn moved(&self, to: &str, here: &Here) {
        if let Some(mut learnt) = self.learnt()
            && learnt.told.is_some()
            && let Some(next) = here.told(to)
        {
            learnt.owner = Some(next);
        }
    }

    /// The owner, and its cluster.
    pub(crate) fn owner(&self) -> Option<(Address, [u8; 16])> {
        let learnt = self.learnt()?;
        Some((learnt.owner.clone()?, learnt.told.as_ref()?.cluster))
    }

    /// The server at the other end has fallen silent without closing anything. It may take the next connection and stand still all
    /// the same, so it is not to be the first that is asked.
    pub(crate) fn doubt(&self, here: &Here) {
        let Some(mut learnt) = self.learnt() else { return };
        if let Some(owner) = learnt.owner.take_if(|owner| here.is_at(owner)) {
            learnt.others.push(owner);
        }
    }

    /// The one at this place serves.
    pub(crate) fn serves(&self, place: usize) {
        self.next.store(place + 1, Ordering::Relaxed);
    }
}

impl Address {
    /// Whether it is the same server, spoken to in the same way.
    fn is_like(&self, other: &Address) -> bool {
        self.name == other.name && self.tls.is_some() == other.tls.is_some()
    }
}

impl Here {
    /// Whether this is where the other one is, as far as that can be seen without a lookup.
    pub(crate) fn is_at(&self, other: &Address) -> bool {
        self.address.name == other.name || other.name.parse() == Ok(self.peer)
    }

    /// An address that was heard here. It is spoken to as this server is: never less secret, and whoever is there has to prove to be
    /// what the user has asked for, since a name that a server makes up proves nothing.
    fn told(&self, native: &str) -> Option<Address> {
        match usable(native, self.peer.ip()) {
            Ok(()) => Some(Address { name: native.to_owned(), tls: self.address.tls.clone() }),
            Err(why) => {
                let shown: String = native.escape_debug().take(NODE_ADDRESS_BYTES_MAX).collect();
                tracing::warn!(
                    address = shown,
                    server = self.address.name,
                    why,
                    "an address of a node is ignored"
                );
                None
            }
        }
    }
}

/// Why an address that a server at `heard_at` has told is of no use here.
fn usable(native: &str, heard_at: IpAddr) -> Result<(), &'static str> {
    let well_formed = native.len() <= NODE_ADDRESS_BYTES_MAX
        && native.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
        && !native.contains("://");
    let Some(host) = host(native).ok().filter(|_| well_formed) else { return Err("it is no HOST:PORT") };
    let ip = host.parse::<IpAddr>().ok();
    if ip.is_some_and(|ip| ip.is_unspecified() || ip.is_multicast()) {
        return Err("it is not the address of a machine; the node needs --advertise");
    }
    let is_loopback = ip.map_or_else(|| host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback());
    if is_loopback && !heard_at.to_canonical().is_loopback() {
        return Err("it is this machine, and not the node's; the node needs --advertise");
    }
    Ok(())
}

/// The host of an address, without the brackets of IPv6.
fn host(part: &str) -> Result<&str, Error> {
    let bad = || Error::BadAddress(part.to_owned());
    let rest = part.strip_prefix(SCHEME).unwrap_or(part);
    let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || host.contains("://") || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(bad());
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Ok(bare
        .filter(|bare| bare.parse::<Ipv6Addr>().is_ok_and(|ip| IpAddr::from(ip).is_ipv6()))
        .unwrap_or(host))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.tls.is_some() { SCHEME } else { "" }, self.name)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.list.iter().map(Address::to_string).collect();
        f.write_str(&list.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_names_and_ipv6_are_addresses() {
        let list = Addresses::parse("127.0.0.1:7421, queue.example:7421,[::1]:7421", None);
        let list = list.expect("three good addresses");
        let names: Vec<&str> = list.list.iter().map(|address| address.name.as_str()).collect();
        assert_eq!(names, ["127.0.0.1:7421", "queue.example:7421", "[::1]:7421"]);
        assert!(list.list.iter().all(|address| address.tls.is_none()));
    }

    #[test]
    fn a_round_begins_behind_the_one_that_served() {
        let list = Addresses::parse("a:1,b:1,c:1", None).expect("good addresses");
        let round = || {
            let named = |at: Candidate| (at.place.expect("it was given"), at.address.name);
            list.round().into_iter().map(named).collect::<Vec<_>>()
        };
        let named = |places: [usize; 3]| places.map(|place| (place, ["a:1", "b:1", "c:1"][place].to_owned()));
        assert_eq!(round(), named([0, 1, 2]));
        assert_eq!(round(), named([0, 1, 2]), "a round that nobody has answered changes nothing");
        list.serves(1);
        assert_eq!(round(), named([2, 0, 1]));
        list.serves(2);
        assert_eq!(round(), named([0, 1, 2]));
    }

    fn here(list: &Addresses, place: usize, peer: &str) -> Here {
        Here { address: list.list[place].clone(), peer: peer.parse().expect("an address") }
    }

    fn nodes(owner: &str, others: &[&str]) -> Nodes {
        let node =
            |native: &str| windlass_core::wire::NodeAt { name: "n".to_owned(), native: native.to_owned() };
        Nodes { cluster: [1; 16], owner: node(owner), others: others.iter().map(|at| node(at)).collect() }
    }

    fn names(list: &Addresses) -> Vec<String> {
        list.round().into_iter().map(|at| at.address.to_string()).collect()
    }

    #[test]
    fn a_round_begins_with_the_owner_and_ends_with_what_was_learnt() {
        let list = Addresses::parse("a:1,b:1", None).expect("good addresses");
        let at = here(&list, 0, "10.0.0.1:1");
        list.learn(&nodes("b:1", &["c:1", "a:1", "d:1"]), &at);
        assert_eq!(names(&list), ["b:1", "a:1", "c:1", "d:1"]);
        let proofs: Vec<_> = list.round().iter().map(|at| (at.cluster.is_some(), at.is_guess)).collect();
        assert_eq!(proofs, [(false, true), (false, false), (true, false), (true, false)]);
        list.moved("d:1", &at);
        assert_eq!(names(&list), ["d:1", "a:1", "b:1", "c:1"]);
        list.learn(&nodes("e:1", &["a:1"]), &at);
        assert_eq!(names(&list), ["e:1", "a:1", "b:1"], "who is not named any more is forgotten");
        list.doubt(&here(&list, 0, "10.0.0.1:1"));
        assert_eq!(names(&list)[0], "e:1", "another one was silent");
        let silent = Here { address: list.round()[0].address.clone(), peer: at.peer };
        list.doubt(&silent);
        assert_eq!(names(&list), ["a:1", "b:1", "e:1"]);
        let many: Vec<String> = (0..100).map(|n| format!("m{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        list.learn(&nodes("a:1", &many), &at);
        assert_eq!(list.round().len(), 2 + NODES_TOLD_MAX);
    }

    #[test]
    fn who_does_not_follow_learns_nothing() {
        let list = Addresses::parse("a:1", None).expect("a good address").following(false);
        let at = here(&list, 0, "10.0.0.1:1");
        list.learn(&nodes("b:1", &["c:1"]), &at);
        list.moved("c:1", &at);
        list.doubt(&at);
        assert!(names(&list) == ["a:1"] && list.owner().is_none());
    }

    #[test]
    fn a_learnt_address_is_spoken_to_as_the_server_that_told_it() {
        let list = Addresses::parse("tls://queue.example:1,b:1", None);
        // A system without any authority cannot speak TLS at all.
        let Ok(list) = list else { return };
        list.learn(&nodes("10.0.0.7:1", &["b:1"]), &here(&list, 0, "10.0.0.1:1"));
        let round = list.round();
        assert_eq!(names(&list), ["tls://10.0.0.7:1", "tls://queue.example:1", "b:1", "tls://b:1"]);
        for at in [0, 1, 3] {
            let (_, name) = round[at].address.tls.as_ref().expect("TLS");
            assert_eq!(name.to_str(), "queue.example", "it has to prove what the user asked for");
        }
        assert!(round[3].cluster.is_some() && round[2].cluster.is_none());
    }

    #[test]
    fn addresses_that_are_of_no_use_here_are_ignored() {
        let (far, near): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [127, 0, 0, 1].into());
        let long = format!("{}:1", "x".repeat(NODE_ADDRESS_BYTES_MAX));
        for bad in [
            "",
            "a",
            "a:0",
            ":1",
            "tls://a:1",
            "a:1,b:1",
            "a b:1",
            "a\n:1",
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            &long,
        ] {
            assert!(usable(bad, far).is_err() && usable(bad, near).is_err(), "{bad:?} was taken");
        }
        for own in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1"] {
            assert!(usable(own, far).is_err() && usable(own, near).is_ok(), "{own}");
        }
        for good in ["10.0.0.2:7421", "node-b.queue.svc:7421", "[2001:db8::1]:7421"] {
            assert_eq!(usable(good, far), Ok(()));
        }
    }

    #[test]
    fn tls_is_asked_for_by_a_scheme_or_by_a_ca_file() {
        let mut ca = tempfile::NamedTempFile::new().expect("a file");
        let signed = rcgen::generate_simple_self_signed(["queue.example".to_owned()]).expect("a certificate");
        std::io::Write::write_all(&mut ca, signed.cert.pem().as_bytes()).expect("written");
        let list = Addresses::parse("queue.example:1,[::1]:2", Some(ca.path())).expect("good addresses");
        let proved: Vec<String> = list
            .list
            .iter()
            .filter_map(|at| at.tls.as_ref())
            .map(|(_, name)| name.to_str().into_owned())
            .collect();
        assert_eq!(proved, ["queue.example", "::1"]);
        assert_eq!(list.to_string(), "tls://queue.example:1, tls://[::1]:2");
        let list = Addresses::parse("tls://queue.example:1", Some(ca.path())).expect("a good address");
        assert_eq!(list.list.first().map(|at| at.name.as_str()), Some("queue.example:1"));
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_named() {
        for (ca, why) in [("/nowhere/ca.pem", "cannot be read"), (file!(), "")] {
            let error = Addresses::parse("tls://a:1", Some(Path::new(ca))).expect_err("refused").to_string();
            assert!(error.contains(ca) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_lacks_a_port_is_refused() {
        let bad = [
            "",
            "localhost",
            "localhost:",
            ":7421",
            "localhost:0",
            "localhost:99999",
            "a:1,,b:2",
            "http://a:1",
        ];
        for bad in bad.into_iter().chain(["tls://a", "tls://:1", "tcp://a:1"]) {
            assert!(matches!(Addresses::parse(bad, None), Err(Error::BadAddress(_))), "{bad:?} was taken");
        }
    }
}
