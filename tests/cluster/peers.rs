//! Goal: the owner knows the peer by its own address and not by that of the standby it came through, and believes nobody but a node
//! of its cluster. Method: raw clients of all three protocols, each at a loopback address of its own, look who stands in the audit log.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use windlass_core::api::Request;
use windlass_core::cluster::Nonce;
use windlass_core::id::QueueName;
use windlass_scheduler::clock::Clock;
use windlass_scheduler::door::IntroductionKey;
use windlass_tests::http;
use windlass_tests::process::Server;

use crate::fleet::Fleet;
use crate::raw::{Native, dial};

const PATIENCE: Duration = Duration::from_secs(20);

/// Pauses a queue over the native protocol, after these bytes.
fn native(from: &str, to: SocketAddr, before: &[u8]) -> Result<()> {
    let queue = QueueName::new("native").expect("a name");
    Native::open(dial(from, to)?, before)?.call(Request::PauseQueue { queue })?;
    Ok(())
}

/// The same over HTTP.
fn http(from: &str, to: SocketAddr, before: &[u8]) -> Result<()> {
    let mut stream = dial(from, to)?;
    let request = "POST /api/v1/queues/http/pause HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(&[before, request.as_bytes()].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 20"), "{answer:?}");
    Ok(())
}

/// Wipes everything over the Faktory protocol.
fn faktory(from: &str, to: SocketAddr, before: &[u8]) -> Result<()> {
    let mut stream = dial(from, to)?;
    stream.write_all(before)?;
    let line = |stream: &mut TcpStream| -> Result<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" {
            ensure!(stream.read(&mut byte)? > 0, "the connection ended");
            line.push(byte[0]);
        }
        Ok(String::from_utf8(line)?)
    };
    ensure!(line(&mut stream)?.starts_with("+HI"));
    stream.write_all(b"HELLO {\"v\":2}\r\n")?;
    ensure!(line(&mut stream)?.starts_with("+OK"));
    stream.write_all(b"FLUSH\r\n")?;
    ensure!(line(&mut stream)?.starts_with("+OK"));
    Ok(())
}

type Ask = fn(&str, SocketAddr, &[u8]) -> Result<()>;

/// The ports of a node, each with what changes something there.
fn doors(node: &Server) -> [(&'static str, SocketAddr, Ask); 3] {
    [("native", node.native, native), ("http", node.http, http), ("faktory", node.faktory, faktory)]
}

/// The queues that are paused.
fn make_queues(node: &Server) -> Result<()> {
    for queue in ["native", "http"] {
        let body = format!(r#"{{"queue":"{queue}","kind":"any","payload":1}}"#);
        let (status, answer) = http::post(node.http, "/api/v1/jobs", &body)?;
        ensure!(status == 201, "{status} {answer}");
    }
    Ok(())
}

/// From which hosts the last changes came, newest first.
fn audited(fleet: &Fleet, node: &str) -> Result<Vec<String>> {
    let answer = http::send(fleet.nodes[node].http, "GET", "/api/v1/audit?limit=100", &[], &[])?;
    let entries = answer.json()["entries"].as_array().context("entries")?.clone();
    let host = |entry: &serde_json::Value| {
        let from = entry["from"].as_str().unwrap_or_default();
        from.rsplit_once(':').map_or(from, |(host, _)| host).to_owned()
    };
    Ok(entries.iter().map(host).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_knows_who_comes_through_a_standby() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&["n1", "n2"], false)? else { return Ok(()) };
    make_queues(&fleet.nodes["n1"])?;
    for (round, owner, standby) in [(1, "n1", "n2"), (2, "n2", "n1")] {
        for (at, (door, to, ask)) in doors(&fleet.nodes[standby]).into_iter().enumerate() {
            let from = format!("127.0.{round}.{}", 10 + at);
            ask(&from, to, b"").with_context(|| format!("{door} through {standby}"))?;
            ensure!(audited(&fleet, owner)?[0] == from, "{door}: {:?}", audited(&fleet, owner)?);
        }
        for (at, (door, to, ask)) in doors(&fleet.nodes[owner]).into_iter().enumerate() {
            let from = format!("127.0.{round}.{}", 20 + at);
            ask(&from, to, b"").with_context(|| format!("{door} of {owner}"))?;
            ensure!(audited(&fleet, standby)?[0] == from, "{door}: {:?}", audited(&fleet, standby)?);
        }
        if round == 1 {
            // The next owner has another key, and the one before stands by.
            fleet.node(owner).kill()?;
            fleet.owned_by_another(owner, PATIENCE).await?;
            fleet.node(owner).restart()?;
        }
    }
    Ok(())
}

/// Whoever does not know what stands in the database cannot pass for somebody else, neither at the owner nor through a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_introduces_nobody() -> Result<()> {
    let Some(fleet) = Fleet::start(&["n1", "n2"], false)? else { return Ok(()) };
    make_queues(&fleet.nodes["n1"])?;
    let right = fleet.postgres.sql("SELECT encode(nonce, 'hex') FROM windlass.shard WHERE id = 0")?;
    let right = Nonce(u128::from_str_radix(&right[..32], 16)?);
    let now = Clock::system().now().wall;
    let victim: SocketAddr = "198.51.100.7:7".parse()?;
    for node in ["n1", "n2"] {
        for (door, to, ask) in doors(&fleet.nodes[node]) {
            let forged = IntroductionKey::from(Nonce(right.0 ^ 1)).introduce(door, victim, to, now);
            // What a balancer in front would send, without any authenticator.
            let plain = [&forged[..14], &[0, 12], &forged[16..28]].concat();
            let elsewhere = IntroductionKey::from(right).introduce("elsewhere", victim, to, now);
            for before in [forged, plain, elsewhere] {
                let told = ask("127.0.0.30", to, &before);
                ensure!(told.is_err(), "{door} of {node} believed a stranger");
            }
        }
    }
    ensure!(audited(&fleet, "n1")?.is_empty(), "{:?}", audited(&fleet, "n1")?);
    // One that is right is believed, so what was refused above was refused for its authenticator.
    let (door, to, ask) = doors(&fleet.nodes["n1"])[1];
    ask("127.0.0.30", to, &IntroductionKey::from(right).introduce(door, victim, to, now))?;
    ensure!(audited(&fleet, "n1")?[0] == "198.51.100.7", "{:?}", audited(&fleet, "n1")?);
    Ok(())
}

/// A worker behind a standby is told where the owner gossips, and not where the connection came to or which addresses it listens on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_greeting_names_the_advertised_host() -> Result<()> {
    let Some(fleet) = Fleet::start(&["n1", "n2"], false)? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let (url, seed) = (fleet.postgres.url(), fleet.nodes["n1"].gossip.context("it gossips")?.to_string());
    let args = ["--store", &url, "--name", "n3", "--seed", &seed, "--advertise", "localhost"];
    let third = Server::start(dir.path(), &args)?;
    let port = third.gossip.context("it gossips")?.port();
    Native::open(dial("127.0.0.1", fleet.nodes["n1"].native)?, b"")?
        .call(Request::DrainNode { node: None, hold_ms: 60_000 })?;
    let (mut owner, _) = fleet.owned_by_another("n1", PATIENCE).await?;
    if owner == "n2" {
        Native::open(dial("127.0.0.1", fleet.nodes["n2"].native)?, b"")?
            .call(Request::DrainNode { node: None, hold_ms: 60_000 })?;
        owner = fleet.owned_by_another("n2", PATIENCE).await?.0;
    }
    ensure!(owner == "n3", "{owner}");
    let through = Native::open(dial("127.0.0.1", fleet.nodes["n1"].native)?, b"")?;
    ensure!(through.welcome.node == "n3", "{:?}", through.welcome);
    ensure!(through.welcome.gossip_addr == format!("localhost:{port}"), "{:?}", through.welcome);
    Ok(())
}
