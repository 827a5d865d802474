//! Goal: a renewed certificate is taken up without a restart, and a broken one does no harm. Method: other files in the place of the
//! first, and a look at what the server shows.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use windlass_tests::certs::{Authority, Signed, Site};

/// The server looks every two seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The certificate that a port shows.
fn shown(at: SocketAddr, authority: &Authority) -> Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(tls.peer_certificates().context("a certificate")?[0].to_vec())
}

fn on_disk(authority: &Authority) -> Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_file(authority.cert())?.to_vec())
}

#[test]
fn a_renewed_certificate_is_shown_at_every_port() -> Result<()> {
    let site = Site::open(&Signed::default());
    let doors = [site.server.native, site.server.http, site.server.faktory];
    let first = on_disk(&site.authority)?;
    for door in doors {
        ensure!(shown(door, &site.authority)? == first);
    }
    // Half a renewal: a key that belongs to nothing yet.
    let (cert, key) = (std::fs::read(site.authority.cert())?, std::fs::read(site.authority.key())?);
    site.authority.sign(&Signed { common_name: "second", ..Signed::default() });
    let second = on_disk(&site.authority)?;
    std::fs::write(site.authority.cert(), cert)?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(
        shown(doors[0], &site.authority)? == first,
        "the old one stays in use until the new one is whole"
    );
    std::fs::write(site.authority.cert(), "no certificate")?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(shown(doors[0], &site.authority)? == first);
    // The rest of it.
    let new_key = std::fs::read(site.authority.key())?;
    ensure!(new_key != key && second != first);
    site.authority.sign(&Signed { common_name: "third", ..Signed::default() });
    let third = on_disk(&site.authority)?;
    let end = Instant::now() + PATIENCE;
    for door in doors {
        while shown(door, &site.authority)? != third {
            ensure!(Instant::now() < end, "the renewed certificate is not shown at {door}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}
