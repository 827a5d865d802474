//! Certificates, made when a test needs them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::process::Server;

/// An authority, its certificate in a file, and room for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Where no certificate or file can be made.
    #[must_use]
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
        Authority { issuer, dir }
    }

    /// Its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Certificate and key of a server, in the files of the directory; those that were there are replaced.
    ///
    /// # Panics
    /// Where they cannot be made.
    pub fn sign(&self, signed: &Signed<'_>) {
        let names: Vec<String> = signed.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("good names");
        params.distinguished_name.push(DnType::CommonName, signed.common_name);
        if signed.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.cert(), certificate.pem()).expect("written");
        std::fs::write(self.key(), key.serialize_pem()).expect("written");
    }

    /// The file with the certificate that was signed last.
    #[must_use]
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// The file with its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    /// The flags of a server with this identity.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        flags(&self.cert(), &self.key())
    }
}

/// What is signed.
#[derive(Debug)]
pub struct Signed<'a> {
    /// Names and addresses that it is good for.
    pub names: &'a [&'a str],
    /// By which tests tell certificates apart.
    pub common_name: &'a str,
    /// Whether its time is over.
    pub expired: bool,
}

impl Default for Signed<'_> {
    fn default() -> Self {
        Signed { names: &["127.0.0.1", "localhost"], common_name: "first", expired: false }
    }
}

/// The flags of a server with the identity in these files.
///
/// # Panics
/// For paths that are not UTF-8.
#[must_use]
pub fn flags(cert: &Path, key: &Path) -> Vec<String> {
    let text = |path: &Path| path.to_str().expect("a name in UTF-8").to_owned();
    vec!["--tls-cert".to_owned(), text(cert), "--tls-key".to_owned(), text(key)]
}

/// A server under TLS, with what it needs.
#[derive(Debug)]
pub struct Site {
    /// The server.
    pub server: Server,
    /// Who signed its certificate.
    pub authority: Authority,
    // Goes after the server.
    _data: TempDir,
}

impl Site {
    /// Starts one with a certificate of its own authority.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn open(signed: &Signed<'_>) -> Site {
        let authority = Authority::new();
        authority.sign(signed);
        let data = tempfile::tempdir().expect("a directory");
        let flags = authority.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let server = Server::start(data.path(), &flags).expect("the server starts");
        Site { server, authority, _data: data }
    }

    /// The native address, as clients take it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("tls://{}", self.server.native)
    }
}
