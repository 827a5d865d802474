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

/// Whether the head of a request has come to its end.
pub(super) fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// What a browser that asks for a page says of languages; `None` for anybody else, and for a head that is not whole.
pub(super) fn languages_of_page(head: &[u8]) -> Option<String> {
    let end = head.windows(4).position(|end| end == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let path = lines.next()?.strip_prefix("GET ")?.split(' ').next()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    };
    windlass_dashboard::wants_page(path, header("accept")).then(|| header("accept-language").to_owned())
}

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

    #[test]
    fn only_a_browser_is_shown_a_page() {
        let head = |line: &str, accept: &str| {
            format!("{line} HTTP/1.1\r\nHost: a\r\naccept-language: zh\r\nACCEPT:{accept}\r\n\r\n")
        };
        let page = "text/html,application/xhtml+xml,*/*;q=0.8";
        assert_eq!(languages_of_page(head("GET /queues?a=b", page).as_bytes()).as_deref(), Some("zh"));
        assert_eq!(languages_of_page(b"GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n").as_deref(), Some(""));
        for (line, accept) in
            [("GET /", "*/*"), ("GET /api/v1/queues", page), ("POST /enqueue", page), ("HEAD /", page)]
        {
            assert_eq!(languages_of_page(head(line, accept).as_bytes()), None, "{line} {accept}");
        }
        let whole = head("GET /", page);
        assert!(is_whole(whole.as_bytes()) && !is_whole(&whole.as_bytes()[..whole.len() - 1]));
        assert_eq!(languages_of_page(&whole.as_bytes()[..whole.len() - 1]), None);
    }
}
