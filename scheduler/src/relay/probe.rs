//! Whether an HTTP connection begins with a probe, which every node answers for itself. Pure.

/// What is asked of the node itself. `body`: as `GET`, and not as `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// `/healthz`: whether the process answers.
    Health { body: bool },
    /// `/readyz`: whether there is an owner to carry requests to.
    Ready { body: bool },
    /// `/metrics/node`: what this node has done.
    Metrics { body: bool },
}

/// What the first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing yet.
    Unfinished,
    /// A probe.
    Probe(Probe),
    /// Something else.
    Other,
}

const PROBES: [(&[u8], Probe); 6] = [
    (b"GET /healthz", Probe::Health { body: true }),
    (b"GET /readyz", Probe::Ready { body: true }),
    (b"HEAD /healthz", Probe::Health { body: false }),
    (b"HEAD /readyz", Probe::Ready { body: false }),
    (b"GET /metrics/node", Probe::Metrics { body: true }),
    (b"HEAD /metrics/node", Probe::Metrics { body: false }),
];

/// Looks at what has come so far. Decides at the first byte that no probe has there, so that nothing else waits.
pub(super) fn look(said: &[u8]) -> Line {
    let mut line = Line::Other;
    for (text, probe) in PROBES {
        match said.strip_prefix(text) {
            Some([b' ' | b'?', ..]) => return Line::Probe(probe),
            Some([]) => line = Line::Unfinished,
            None if text.starts_with(said) => line = Line::Unfinished,
            Some(_) | None => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_known_by_their_first_bytes() {
        let health = Line::Probe(Probe::Health { body: true });
        assert_eq!(look(b"GET /healthz HTTP/1.1\r\n"), health);
        assert_eq!(look(b"GET /healthz?from=somewhere"), health);
        assert_eq!(look(b"HEAD /readyz HTTP/1.0\r\n\r\n"), Line::Probe(Probe::Ready { body: false }));
        assert_eq!(look(b"GET /metrics/node "), Line::Probe(Probe::Metrics { body: true }));
        for half in ["", "G", "GET /", "GET /readyz", "HEAD /h", "GET /metrics/"] {
            assert_eq!(look(half.as_bytes()), Line::Unfinished, "{half:?}");
        }
        for other in [
            "GET /metrics ",
            "P",
            "GET / ",
            "GET /healthzz ",
            "GET /readyz\r\n",
            "get /healthz ",
            "\r\n",
            "\u{16}\u{3}",
        ] {
            assert_eq!(look(other.as_bytes()), Line::Other, "{other:?}");
        }
    }
}
