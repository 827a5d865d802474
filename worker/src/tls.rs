//! TLS of clients and workers: whom to trust, and what to say when somebody cannot be trusted. A certificate is always verified:
//! there is no way around it but to name the authority that signed it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::surroundings::Conn;

/// Where to say which authority is trusted.
const NAME_IT: &str =
    "name the file with its authority's certificate: `tls_ca` of the builder, --tls-ca or WINDLASS_TLS_CA";

/// Makes connections secret and sure of the server.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the authorities in the file and no others; without a file, those that this system trusts. Those are what its
    /// administrator keeps, a company's own authority among them, which no list built into a program can know.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Tls, Error> {
        let roots = match ca {
            Some(path) => read(path).map_err(|why| Error::Trust(format!("{}: {why}", path.display())))?,
            None => system()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider's cipher suites serve the versions that are built in")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    /// The handshake, with a server that has to prove to be `name`.
    pub(crate) async fn secure(&self, conn: Conn, name: ServerName<'static>) -> io::Result<Conn> {
        let Conn { reader, writer, local, peer } = conn;
        let stream = self.0.connect(name, tokio::io::join(reader, writer)).await?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Conn { reader: Box::new(reader), writer: Box::new(writer), local, peer })
    }
}

fn read(path: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(path).map_err(|e| format!("the CA file cannot be read: {e}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|e| format!("the CA file is not whole as PEM: {e}"))?;
        roots.add(certificate).map_err(|e| format!("a certificate of the CA file cannot be used: {e}"))?;
    }
    if roots.is_empty() {
        return Err(
            "the CA file holds no certificate; a PEM file with -----BEGIN CERTIFICATE----- is needed"
                .to_owned(),
        );
    }
    Ok(roots)
}

fn system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Old systems keep some that nobody can read any more.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
    Err(Error::Trust(format!("this system has no certificates of authorities{why}; {NAME_IT}")))
}

/// What a failed handshake means: `Err` when the server cannot be trusted, with what to do; `Ok` when nobody answered properly.
pub(crate) fn explain(error: &io::Error) -> Result<String, String> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let doubt = match inner {
        Some(rustls::Error::InvalidCertificate(doubt)) => doubt,
        // What was heard is no TLS at all.
        Some(rustls::Error::InvalidMessage(_)) => {
            return Err("the server does not speak TLS on this port; write HOST:PORT without tls://, and give no CA file"
                .to_owned());
        }
        Some(other) => return Ok(format!("the TLS handshake failed: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(
                "the server closed the connection in the TLS handshake; does this port speak TLS?".to_owned()
            );
        }
        None => return Ok(format!("the TLS handshake failed: {error}")),
    };
    Err(match doubt {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("its certificate is not signed by an authority that is trusted here; {NAME_IT}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it on the server, which takes the new files up without a restart"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; compare the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name ({doubt}); use a name that stands in it")
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is one of an authority (CA:TRUE), which cannot be a server's; sign one for the server with it"
                .to_owned()
        }
        other => format!("its certificate is not taken: {other}"),
    })
}
