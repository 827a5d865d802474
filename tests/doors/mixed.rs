//! Goal: who speaks TLS to a port without it, or the other way round, is told. Method: each client at the wrong port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use windlass_tests::certs::{Authority, Signed, Site};
use windlass_tests::http;
use windlass_tests::process::Server;
use windlass_worker::{Client, Error};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_plain_client_is_told_to_use_tls() -> Result<()> {
    let site = Site::open(&Signed::default());
    match Client::connect(site.server.address()).await {
        Err(Error::Refused(error)) => ensure!(error.message.contains("tls://"), "{error}"),
        other => bail!("{other:?}"),
    }
    // A large request is told too, although nobody reads it.
    let body = vec![b'x'; 30_000];
    let answer = http::send(site.server.http, "POST", "/api/v1/jobs", &[], &body)?;
    ensure!(answer.status == 400 && answer.body.contains("this port speaks TLS"), "{answer:?}");
    Ok(())
}

/// A Faktory client waits for the server to speak, which under TLS it never does first.
#[test]
fn a_plain_faktory_client_is_told_before_it_gives_up() -> Result<()> {
    let site = Site::open(&Signed::default());
    let stream = TcpStream::connect(site.server.faktory)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let begun = Instant::now();
    let mut lines = BufReader::new(stream).lines();
    let greeting = lines.next().transpose()?.unwrap_or_default();
    ensure!(begun.elapsed() < Duration::from_secs(5), "clients give up after five seconds");
    let error = lines.next().transpose()?.unwrap_or_default();
    ensure!(greeting.starts_with("+HI "), "{greeting}");
    ensure!(error.starts_with("-ERR") && error.contains("tcp+tls://"), "{error}");
    ensure!(lines.next().is_none(), "and is not served");
    Ok(())
}

#[tokio::test]
async fn a_tls_client_is_told_to_leave_it_away() -> Result<()> {
    let data = tempfile::tempdir()?;
    let server = Server::start(data.path(), &[])?;
    let authority = Authority::new();
    let client = Client::builder(format!("tls://{}", server.native)).tls_ca(authority.ca());
    match client.connect().await {
        Err(Error::Untrusted { reason, .. }) => ensure!(reason.contains("does not speak TLS"), "{reason}"),
        other => bail!("{other:?}"),
    }
    // Browsers are not sent to a TLS that is not there.
    let page = http::send(server.http, "GET", "/api/v1/queues", &[], &[])?;
    ensure!(page.status == 200 && page.header("strict-transport-security").is_empty(), "{page:?}");
    // Whatever begins like TLS is not taken for a frame of 33 MB, and HTTP answers as HTTP does.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut stream = TcpStream::connect(server.http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    ensure!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    Ok(())
}
