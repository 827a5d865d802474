//! Goal: no input crashes the server or makes it grow. Method: 100,000 malformed frames on many connections, with an honest client
//! beside them; among them lines without an end, wrong JSON of every command, deep nesting, pipelines that nobody reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::peer::{Home, job};

/// Frames on one connection, unless the server ends it earlier.
const FRAMES_PER_CONNECTION: usize = 250;
const FRAMES: usize = 100_000;

fn frame(rng: &mut SmallRng) -> Vec<u8> {
    const VERBS: [&str; 14] = [
        "HELLO", "PUSH", "PUSHB", "FETCH", "ACK", "FAIL", "BEAT", "INFO", "QUEUE", "MUTATE", "BATCH",
        "TRACK", "push", "",
    ];
    let good = job("job-1-aaaa", &json!({ "at": "2031-01-01T00:00:00Z", "custom": { "a": [1, 2] } }));
    let arguments: [String; 12] = [
        good.clone(),
        format!("[{good},{good}]"),
        "{\"jid\":\"job-1-aaaa\"}".to_owned(),
        "{\"wid\":\"w\",\"current_state\":\"quiet\"}".to_owned(),
        "{\"cmd\":\"requeue\",\"target\":\"dead\",\"filter\":{\"regexp\":\"*[a-\\\\*\"}}".to_owned(),
        "PAUSE nobody".to_owned(),
        "LATENCY a b c".to_owned(),
        "[".repeat(rng.random_range(1..5_000)),
        "{\"a\":".repeat(rng.random_range(1..2_000)),
        "{\"jid\":123,\"args\":{},\"retry\":1e999}".to_owned(),
        "\u{0}\u{1}é\u{202e}".to_owned(),
        String::new(),
    ];
    let verb = VERBS[rng.random_range(0..VERBS.len())];
    let mut bytes = format!("{verb} {}", arguments[rng.random_range(0..arguments.len())]).into_bytes();
    for _ in 0..rng.random_range(0..4) {
        if !bytes.is_empty() {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] = rng.random(),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, rng.random()),
            }
        }
    }
    bytes.extend_from_slice(if rng.random_bool(0.5) { b"\r\n" } else { b"\n" });
    bytes
}

/// Sends frames until there were enough or the server had enough; reads what comes back.
fn throw(at: SocketAddr, rng: &mut SmallRng) -> usize {
    let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(5)) else { return 0 };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
    let mut sink = vec![0; 64 * 1024];
    let _ = stream.read(&mut sink);
    if rng.random_bool(0.95) {
        let _ = stream.write_all(b"HELLO {\"v\":2}\r\n");
    }
    let mut sent = 0;
    while sent < FRAMES_PER_CONNECTION {
        let mut some = Vec::new();
        for _ in 0..50 {
            let bytes = frame(rng);
            // A FETCH would wait for two seconds, and is tested elsewhere; the verb's letters may come up by chance.
            if !bytes.starts_with(b"FETCH ") {
                some.extend(bytes);
            }
            sent += 1;
        }
        if stream.write_all(&some).is_err() {
            break;
        }
        if rng.random_bool(0.9) && stream.read(&mut sink).unwrap_or(0) == 0 {
            break;
        }
    }
    sent
}

#[test]
fn malformed_frames_neither_crash_nor_grow_the_server() -> Result<()> {
    let mut home = Home::start(&[]);
    let mut honest = home.peer();
    let mut rng = SmallRng::seed_from_u64(11);
    let at = home.server.faktory;
    // Who holds a connection with half a line gets no memory by it.
    let halves: Vec<_> = (0..50)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(at).ok()?;
            stream.write_all(b"HELLO {\"v\":2}\r\nPUSH {\"jid\":\"").ok()?;
            Some(stream)
        })
        .collect();
    let (mut sent, mut connections, mut settled) = (0, 0, 0);
    while sent < FRAMES {
        sent += throw(at, &mut rng);
        connections += 1;
        ensure!(connections < FRAMES, "the server takes no connections any more");
        if connections % 20 == 0 {
            // What was taken by chance goes again, so that only what leaks is left.
            honest.ask("FLUSH");
        }
        if settled == 0 && sent > FRAMES / 3 {
            settled = home.server.process().resident_bytes()?;
        }
    }
    honest.ask("FLUSH");
    let grown = home.server.process().resident_bytes()?.saturating_sub(settled);
    println!(
        "{sent} malformed frames on {connections} connections: memory grew by {} KiB after the first third",
        grown / 1024
    );
    ensure!(home.server.process().is_running()?, "the server crashed");
    ensure!(grown < 24 * 1024 * 1024, "the server grew by {grown} bytes");
    drop(halves);
    honest.push("job-9-aaaa", &json!({}));
    ensure!(honest.fetch("default")["jid"] == "job-9-aaaa", "an honest client is not served any more");
    home.server.stop()
}

/// Long lines from many at once are read a few at a time, and none is lost.
#[test]
fn long_lines_from_many_share_a_budget() -> Result<()> {
    let mut home = Home::start(&[]);
    let at = home.server.faktory;
    let before = home.server.process().resident_bytes()?;
    let threads: Vec<_> = (0..24)
        .map(|n| {
            std::thread::spawn(move || {
                let mut peer = crate::peer::Peer::connect(at, json!({ "v": 2 }));
                peer.push(&format!("job-{n:08}"), &json!({ "args": ["x".repeat(3_500_000)] }));
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("each is served");
    }
    let mut peer = home.peer();
    ensure!(peer.info()["faktory"]["queues"]["default"] == 24);
    let grown = home.server.process().resident_bytes()?.saturating_sub(before);
    println!("24 jobs of 3.5 MB at once: {} MiB", grown >> 20);
    ensure!(grown < 700 * 1024 * 1024, "the server grew by {grown} bytes");
    home.server.stop()
}
