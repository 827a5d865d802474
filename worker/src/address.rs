//! Where servers are: `host:port` or `tls://host:port`, several separated by commas, tried in turn.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::ServerName;

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

/// A list of servers, and with which of them the next round begins: behind the one that served last. A server that was lost may
/// take the next connection and stand still all the same, so another one is asked first.
#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<Address>,
    next: AtomicUsize,
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
        Ok(Addresses { list, next: AtomicUsize::new(0) })
    }

    /// All of them once, with their places.
    pub(crate) fn round(&self) -> impl Iterator<Item = (usize, &Address)> {
        let next = self.next.load(Ordering::Relaxed) % self.list.len();
        let (before, behind) = self.list.split_at(next);
        let behind = behind.iter().enumerate().map(move |(index, address)| (next + index, address));
        behind.chain(before.iter().enumerate())
    }

    /// The one at this place serves.
    pub(crate) fn serves(&self, place: usize) {
        self.next.store(place + 1, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }
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
        let round = || list.round().map(|(place, at)| (place, at.name.clone())).collect::<Vec<_>>();
        let named = |places: [usize; 3]| places.map(|place| (place, ["a:1", "b:1", "c:1"][place].to_owned()));
        assert_eq!(round(), named([0, 1, 2]));
        assert_eq!(round(), named([0, 1, 2]), "a round that nobody has answered changes nothing");
        list.serves(1);
        assert_eq!(round(), named([2, 0, 1]));
        list.serves(2);
        assert_eq!(round(), named([0, 1, 2]));
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
