//! Where servers are: `host:port`, several separated by commas, tried in order.

use std::fmt;

use crate::error::Error;

/// Most addresses in one list: more is a mistake in a configuration.
const ADDRESSES_MAX: usize = 64;

/// A list of `host:port`; names are looked up anew at every attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<String>);

impl Addresses {
    pub(crate) fn parse(text: &str) -> Result<Addresses, Error> {
        let list: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        for part in &list {
            let port = part
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(port)) if port > 0) {
                return Err(Error::BadAddress(part.clone()));
            }
        }
        if list.len() > ADDRESSES_MAX {
            return Err(Error::BadAddress(format!(
                "a list of {} addresses (at most {ADDRESSES_MAX})",
                list.len()
            )));
        }
        Ok(Addresses(list))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_names_and_ipv6_are_addresses() {
        let list =
            Addresses::parse("127.0.0.1:7421, queue.example:7421,[::1]:7421").expect("three good addresses");
        assert_eq!(list.iter().collect::<Vec<_>>(), ["127.0.0.1:7421", "queue.example:7421", "[::1]:7421"]);
    }

    #[test]
    fn what_lacks_a_port_is_refused() {
        for bad in ["", "localhost", "localhost:", ":7421", "localhost:0", "localhost:99999", "a:1,,b:2"] {
            assert!(matches!(Addresses::parse(bad), Err(Error::BadAddress(_))), "{bad:?} was taken");
        }
    }
}
