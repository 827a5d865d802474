//! Goal: strangers cost little and keep nobody out. Method: as many silent connections as there may be and more, connections that drip,
//! heads and lines without an end, at every port, with an honest client beside them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windlass_core::limits::HANDSHAKE_MS_MAX;
use windlass_scheduler::door::UNGREETED_MAX;
use windlass_tests::certs::{Signed, Site};
use windlass_tests::process::Server;
use windlass_worker::{Client, Job};

/// What a busy machine may take longer.
const SLACK: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_millis(HANDSHAKE_MS_MAX);

/// This process holds more connections than systems like to give it.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(8_192), |most| Some(most.min(8_192)));
    setrlimit(Resource::Nofile, limit).expect("more descriptors");
}

/// Silent connections beyond the limit wait outside. They keep out nobody who is in, and go when their time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_are_limited_and_go() -> Result<()> {
    raise_limit();
    let data = tempfile::tempdir()?;
    let mut server = Server::start(data.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    client.enqueue(Job::new("before", &1)?).await?;
    for door in [server.native, server.faktory] {
        let before = server.process().resident_bytes()?;
        let strangers: Vec<TcpStream> =
            (0..UNGREETED_MAX + 200).map(|_| TcpStream::connect(door)).collect::<Result<_, _>>()?;
        let begun = Instant::now();
        client.enqueue(Job::new("during", &1)?).await?;
        ensure!(begun.elapsed() < SLACK, "who is in waits for strangers");
        let grown = server.process().resident_bytes()?.saturating_sub(before);
        ensure!(grown < 64 * 1024 * 1024, "{} strangers cost {grown} bytes", strangers.len());
        // Nobody is turned away for them: an honest one waits for its turn.
        let mut late = TcpStream::connect(door)?;
        late.set_read_timeout(Some(HANDSHAKE + SLACK))?;
        if door == server.faktory {
            let read = late.read(&mut [0; 64])?;
            ensure!(read > 0, "an honest one is not greeted");
            continue;
        }
        let honest = Client::builder(server.address()).lazy().connect().await?;
        tokio::time::timeout(2 * HANDSHAKE + SLACK, honest.connected())
            .await
            .context("not served in time")?;
    }
    server.stop()
}

/// When the other side ends the conversation, or an error after too long.
fn ends(stream: &mut TcpStream, limit: Duration) -> Result<Duration> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(limit))?;
    loop {
        match stream.read(&mut [0; 4_096]) {
            Ok(0) => return Ok(begun.elapsed()),
            Ok(_) => ensure!(begun.elapsed() < limit, "it goes on talking"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(begun.elapsed()),
            Err(error) => return Err(error).context("the server holds the connection"),
        }
    }
}

/// Bytes that come one by one do not buy more time than silence, with TLS and without.
#[test]
fn who_drips_is_cut_off() -> Result<()> {
    let site = Site::open(&Signed::default());
    let data = tempfile::tempdir()?;
    let plain = Server::start(data.path(), &[])?;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let line = b"HELLO {\"v\":2,\"wid\":\"";
    let frame = b"\x40\x00\x00\x00\x00WLSS\x01\x00\x00\x00\x00";
    let doors: [(&str, SocketAddr, &[u8]); 5] = [
        ("native, TLS", site.server.native, hello),
        ("HTTP, TLS", site.server.http, hello),
        ("Faktory, TLS", site.server.faktory, hello),
        ("native", plain.native, frame),
        ("Faktory", plain.faktory, line),
    ];
    let threads: Vec<_> = doors
        .map(|(name, at, bytes)| {
            let bytes = bytes.to_vec();
            std::thread::spawn(move || -> Result<()> {
                let mut stream = TcpStream::connect(at)?;
                let begun = Instant::now();
                for byte in bytes {
                    if stream.write_all(&[byte]).is_err() || begun.elapsed() > HANDSHAKE {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(300));
                }
                ends(&mut stream, HANDSHAKE + SLACK).with_context(|| name.to_owned())?;
                let took = begun.elapsed();
                ensure!(took < HANDSHAKE + SLACK, "{name}: {took:?}");
                Ok(())
            })
        })
        .into_iter()
        .collect();
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    Ok(())
}

/// Heads, lines and frames that are too long end the conversation before they are held.
#[test]
fn what_is_too_long_is_not_read_to_its_end() -> Result<()> {
    let data = tempfile::tempdir()?;
    let mut server = Server::start(data.path(), &[])?;
    let before = server.process().resident_bytes()?;
    let endless: [(&str, SocketAddr, Vec<u8>, u8); 4] = [
        ("native", server.native, (64 * 1024_u32).to_le_bytes().to_vec(), 0),
        ("Faktory", server.faktory, b"HELLO {\"v\":".to_vec(), b'1'),
        ("a header", server.http, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ".to_vec(), b'y'),
        ("a path", server.http, b"GET /".to_vec(), b'a'),
    ];
    for (name, at, begin, filler) in endless {
        let mut streams: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(at)).collect::<Result<_, _>>()?;
        for stream in &mut streams {
            stream.set_write_timeout(Some(Duration::from_millis(500)))?;
            let _ = stream.write_all(&begin);
            for _ in 0..64 {
                // The server ends it long before these 4 MiB are over.
                if stream.write_all(&[filler; 64 * 1024]).is_err() {
                    break;
                }
            }
        }
        for stream in &mut streams {
            ends(stream, SLACK).with_context(|| name.to_owned())?;
        }
        let grown = server.process().resident_bytes()?.saturating_sub(before);
        ensure!(grown < 16 * 1024 * 1024, "{name}: the server grew by {grown} bytes");
    }
    server.stop()
}
