//! A peer that says what a test wants it to say, line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use windlass_tests::process::Server;

/// A server of its own for a test, and the directory that it needs.
pub(crate) struct Home {
    pub(crate) server: Server,
    _dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn start(extra: &[&str]) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(dir.path(), extra).expect("a server");
        Home { server, _dir: dir }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(self.server.faktory, json!({ "v": 2 }))
    }

    pub(crate) fn worker(&self, wid: &str) -> Peer {
        Peer::connect(
            self.server.faktory,
            json!({ "v": 2, "wid": wid, "hostname": "test", "pid": 7, "labels": ["x"] }),
        )
    }
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
    pub(crate) hi: String,
}

/// An answer as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Simple(String),
    Error(String),
    Bulk(String),
    Null,
    Closed,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        match self {
            Answer::Bulk(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no bulk string: {other:?}"),
        }
    }
}

pub(crate) fn ok() -> Answer {
    Answer::Simple("OK".to_owned())
}

pub(crate) fn error(text: &str) -> Answer {
    Answer::Error(format!("ERR {text}"))
}

/// A job with these fields beside the necessary ones.
pub(crate) fn job(jid: &str, more: &Value) -> String {
    let mut job = json!({ "jid": jid, "jobtype": "work", "args": [1] });
    job.as_object_mut().unwrap().extend(more.as_object().expect("fields").clone());
    job.to_string()
}

impl Peer {
    /// Connects and reads the greeting; says nothing.
    pub(crate) fn open(at: SocketAddr) -> Peer {
        let stream = TcpStream::connect(at).expect("the port is open");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut peer = Peer { stream, reader, hi: String::new() };
        peer.reader.read_line(&mut peer.hi).expect("a greeting");
        peer
    }

    /// A connection to a server that may be gone.
    pub(crate) fn try_connect(at: SocketAddr) -> Option<Peer> {
        let stream = TcpStream::connect(at).ok()?;
        let reader = BufReader::new(stream.try_clone().ok()?);
        let mut peer = Peer { stream, reader, hi: String::new() };
        peer.reader.read_line(&mut peer.hi).ok()?;
        (peer.try_ask("HELLO {\"v\":2}") == ok()).then_some(peer)
    }

    pub(crate) fn connect(at: SocketAddr, hello: Value) -> Peer {
        let mut peer = Peer::open(at);
        assert_eq!(peer.ask(&format!("HELLO {hello}")), ok());
        peer
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).expect("the server reads");
    }

    pub(crate) fn ask(&mut self, line: &str) -> Answer {
        self.send(line);
        self.answer()
    }

    /// Asks a server that may be gone.
    pub(crate) fn try_ask(&mut self, line: &str) -> Answer {
        match self.stream.write_all(format!("{line}\r\n").as_bytes()) {
            Ok(()) => self.answer(),
            Err(_) => Answer::Closed,
        }
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let mut line = String::new();
        // A server that is killed may stop in the middle of a line.
        if self.reader.read_line(&mut line).is_err() || !line.ends_with('\n') {
            return Answer::Closed;
        }
        let (kind, text) = line.strip_suffix("\r\n").expect("lines end in CRLF").split_at(1);
        match kind {
            "+" => Answer::Simple(text.to_owned()),
            "-" => Answer::Error(text.to_owned()),
            "$" if text == "-1" => Answer::Null,
            "$" => {
                let mut bytes = vec![0; text.parse::<usize>().expect("a length") + 2];
                self.reader.read_exact(&mut bytes).expect("a bulk string");
                assert!(bytes.ends_with(b"\r\n"), "a bulk string ends in CRLF");
                bytes.truncate(bytes.len() - 2);
                let text = String::from_utf8(bytes).expect("UTF-8");
                assert!(!text.contains(['\r', '\n']), "clients count the ends of lines");
                Answer::Bulk(text)
            }
            _ => panic!("no answer of the protocol: {line:?}"),
        }
    }

    pub(crate) fn push(&mut self, jid: &str, more: &Value) {
        assert_eq!(self.ask(&format!("PUSH {}", job(jid, more))), ok());
    }

    /// A job, which must be there.
    #[track_caller]
    pub(crate) fn fetch(&mut self, queues: &str) -> Value {
        self.ask(&format!("FETCH {queues}")).json()
    }

    pub(crate) fn ack(&mut self, jid: &str) {
        assert_eq!(self.ask(&format!("ACK {}", json!({ "jid": jid }))), ok());
    }

    pub(crate) fn fail(&mut self, jid: &str) -> Answer {
        let fail =
            json!({ "jid": jid, "errtype": "Oops", "message": "it broke", "backtrace": ["a:1", "b:2"] });
        self.ask(&format!("FAIL {fail}"))
    }

    pub(crate) fn info(&mut self) -> Value {
        self.ask("INFO").json()
    }

    /// Sizes of the sets: scheduled, retries, dead, working.
    pub(crate) fn sets(&mut self) -> [u64; 4] {
        let info = self.info();
        ["scheduled", "retries", "dead", "working"].map(|set| info["faktory"]["sets"][set].as_u64().unwrap())
    }
}
