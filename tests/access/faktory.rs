//! The Faktory door: every command by every role, with real salted passwords.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use sha2::{Digest, Sha256};
use windlass_core::access::Role;
use windlass_core::api::{Request, TokenSpec};

use crate::support::{closed, limited, make};

/// Every command, and who may: producer, worker, viewer, operator, admin by their first letters.
const COMMANDS: [(&str, &str); 17] = [
    (r#"PUSH {"jid":"job-1-aaaa","jobtype":"k","args":[]}"#, "pwoa"),
    (r#"PUSHB [{"jid":"job-2-aaaa","jobtype":"k","args":[]}]"#, "pwoa"),
    ("FETCH default", "wa"),
    (r#"ACK {"jid":"job-x-aaaa"}"#, "wa"),
    (r#"FAIL {"jid":"job-x-aaaa"}"#, "wa"),
    (r#"BEAT {"wid":"w"}"#, "wa"),
    ("INFO", "voa"),
    ("QUEUE LATENCY default", "voa"),
    ("QUEUE PAUSE absent", "oa"),
    ("QUEUE RESUME absent", "oa"),
    ("QUEUE REMOVE absent", "oa"),
    (r#"MUTATE {"cmd":"clear","target":"dead"}"#, "oa"),
    ("FLUSH", "a"),
    ("BATCH NEW {}", "pwvoa"),
    ("TRACK GET x", "pwvoa"),
    ("PUSH", "pwvoa"),
    ("NONSENSE", "pwvoa"),
];

struct Peer {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    /// Connects and answers the challenge; the second value is the server's word on it.
    fn connect(at: SocketAddr, password: &str) -> (Peer, String) {
        let stream = TcpStream::connect(at).expect("the port is open");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a socket");
        let reader = BufReader::new(stream.try_clone().expect("a socket"));
        let mut peer = Peer { stream, reader };
        let hi = peer.line();
        let hi: serde_json::Value = serde_json::from_str(hi.trim_start_matches("+HI ")).expect("a greeting");
        let salt = hi["s"].as_str().expect("a password is asked for");
        let mut sum = Sha256::new().chain_update(password).chain_update(salt).finalize();
        for _ in 1..hi["i"].as_u64().expect("rounds") {
            sum = Sha256::digest(sum);
        }
        let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = peer.ask(&format!(r#"HELLO {{"v":2,"wid":"w","pwdhash":"{digits}"}}"#));
        (peer, said)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        // A connection that was cut off has no more lines.
        let _ = self.reader.read_line(&mut line);
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        // The server may have closed; then there is no answer.
        let _ = self.stream.write_all(format!("{line}\r\n").as_bytes());
        let answer = self.line();
        if let Some(length) = answer.strip_prefix('$').and_then(|text| text.parse::<usize>().ok()) {
            let mut body = vec![0; length + 2];
            self.reader.read_exact(&mut body).expect("a bulk string");
        }
        answer
    }
}

fn is_denied(answer: &str) -> bool {
    answer.starts_with("-ERR ") && (answer.contains("does not allow") || answer.contains("is limited to"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_what_the_table_says_of_every_command() {
    let (server, tokens) = closed(true).await;
    let at = server.node().faktory_addr().expect("the door is open");
    for (role, token) in &tokens {
        let password = token.faktory_password.as_deref().expect("it was asked for");
        let (mut peer, said) = Peer::connect(at, password);
        assert_eq!(said, "+OK", "{role}");
        for (command, who) in COMMANDS {
            let answer = peer.ask(command);
            let may = who.contains(&role.name()[..1]);
            assert_eq!(!is_denied(&answer), may, "{role} {command}: {answer}");
        }
        // The token itself is no password, and the password is no token.
        assert_eq!(Peer::connect(at, &token.secret).1, "-ERR Invalid password");
        assert!(crate::support::connect(&server, password).await.is_err());
    }
    assert_eq!(Peer::connect(at, "").1, "-ERR Invalid password");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_revocation_hold_at_this_door_too() {
    let (server, _) = closed(true).await;
    let at = server.node().faktory_addr().expect("the door is open");
    let spec = TokenSpec { faktory: true, ..limited("mail", Role::Admin, &["mail*"]) };
    let error = make(&server, spec.clone()).await.expect_err("an admin is not limited");
    assert!(error.message.contains("cannot be limited"), "{error}");
    let token = make(&server, TokenSpec { role: Role::Worker, ..spec }).await.expect("a token");
    let password = token.faktory_password.expect("it was asked for");
    let (mut peer, said) = Peer::connect(at, &password);
    assert_eq!(said, "+OK");
    let push = |queue: &str| {
        format!(r#"PUSH {{"jid":"job-{queue}-aaaa","jobtype":"k","queue":"{queue}","args":[]}}"#)
    };
    assert_eq!(peer.ask(&push("mail")), "+OK");
    assert!(is_denied(&peer.ask(&push("other"))));
    assert!(is_denied(&peer.ask("FETCH mail other")));
    assert!(peer.ask("FETCH mail").starts_with('$'));
    assert_eq!(peer.ask(r#"ACK {"jid":"job-mail-aaaa"}"#), "+OK");
    server.api().call(Request::RevokeToken { token: "mail".to_owned() }).await.expect("revoked");
    let last = peer.line();
    assert!(last.contains("revoked"), "{last}");
    assert_eq!(peer.ask("FETCH mail"), "", "the connection is closed");
    assert_eq!(Peer::connect(at, &password).1, "-ERR Invalid password");
}
