//! Goal: no input crashes the server or makes it grow. Method: random bytes, huge announcements, truncated frames, slow
//! drips and other protocols at every port, with an honest client beside them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use windlass_tests::process::{Server, cycles};
use windlass_worker::{Client, Job};

/// What strangers send first.
fn openings() -> Vec<Vec<u8>> {
    let hello = b"\x20\0\0\0\0WLSS\x01\x04test".to_vec();
    vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"HELLO {\"v\":2}\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0xff; 4],
        u32::MAX.to_le_bytes().to_vec(),
        (16 * 1024 * 1024u32).to_le_bytes().to_vec(),
        vec![0; 64],
        hello,
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 18446744073709551615\r\n\r\n{".to_vec(),
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 200_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat(),
        [b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n".to_vec(), vec![b'['; 20_000]].concat(),
    ]
}

fn throw(at: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(2)) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
    // The server may close at once; that is what it should do.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 512]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_neither_crashes_nor_grows_the_server() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    client.enqueue(Job::new("before", &1)?).await?;
    let mut rng = SmallRng::seed_from_u64(7);
    let openings = openings();
    let slow: Vec<_> = (0..20).filter_map(|_| TcpStream::connect(server.native).ok()).collect();
    let mut settled = 0;
    let rounds = cycles(10) * 60;
    for round in 0..rounds {
        let mut bytes = openings[rng.random_range(0..openings.len())].clone();
        if round % 2 == 0 {
            let mut noise = vec![0; rng.random_range(0..4_096)];
            rng.fill_bytes(&mut noise);
            bytes.extend(noise);
        }
        let cut = rng.random_range(0..=bytes.len());
        let bytes = if round % 3 == 0 { &bytes[..cut] } else { &bytes[..] };
        throw(if rng.random_bool(0.5) { server.native } else { server.http }, bytes);
        if let Some(gossip) = server.gossip {
            UdpSocket::bind("127.0.0.1:0")?.send_to(&bytes[..bytes.len().min(1_400)], gossip)?;
        }
        for mut stream in &slow {
            // One byte now and then, for as long as the server lets them.
            let _ = stream.write(&[0]);
        }
        if round == rounds / 3 {
            settled = server.process().resident_bytes()?;
        }
    }
    let grown = server.process().resident_bytes()?.saturating_sub(settled);
    println!("{rounds} rounds of garbage: memory grew by {} KiB after the first third", grown / 1024);
    ensure!(grown < 24 * 1024 * 1024, "the server grew by {grown} bytes");
    ensure!(server.process().is_running()?, "the server crashed");
    let enqueued = client.enqueue(Job::new("after", &1)?).await?;
    ensure!(client.status(enqueued.id).await?.is_some(), "an honest client is not served any more");
    server.stop()
}
