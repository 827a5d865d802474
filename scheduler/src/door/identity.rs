//! Certificate and key of the server: read from files, and read again when the files change, since certificates get renewed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at. They are read and compared, not dated: links that are turned to another file, as container
/// platforms do it, keep the dates they like.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Largest file that is read: a chain is a few KiB, so more is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where certificate and key are, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// Why TLS cannot be set up: which file, what is wrong with it, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub why: String,
}

/// What the files hold, for comparing.
#[derive(Clone, PartialEq, Eq)]
struct Text {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in use. Handshakes that begin after a renewal get the new one; connections that stand keep theirs.
pub(super) struct Identity {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    /// What was in the files at the start.
    first: Text,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // It is replaced as a whole.
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Identity {
    /// Reads both files. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] for what is missing, unreadable or does not belong together.
    pub(super) fn load(files: TlsFiles, provider: Arc<CryptoProvider>) -> Result<Identity, TlsError> {
        let first = read_both(&files)?;
        let certified = certify(&files, &first, &provider)?;
        Ok(Identity { files, provider, first, current: RwLock::new(Arc::new(certified)) })
    }

    /// Takes changed files up, for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>) {
        let look = |files: TlsFiles| tokio::task::spawn_blocking(move || read_both(&files));
        let mut used = self.first.clone();
        // Renewers write two files one after the other, so what is wrong is told when it is still wrong the next time.
        let (mut doubted, mut told) = (None, None);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(found) = look(self.files.clone()).await else { continue };
            if found.as_ref().is_ok_and(|text| *text == used) {
                (doubted, told) = (None, None);
                continue;
            }
            let renewed = found.and_then(|text| Ok((certify(&self.files, &text, &self.provider)?, text)));
            match renewed {
                Ok((certified, text)) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                    (used, doubted, told) = (text, None, None);
                    tracing::info!(cert = %self.files.cert.display(), "certificate renewed");
                }
                Err(error) => {
                    if doubted.as_ref() == Some(&error) && told.as_ref() != Some(&error) {
                        tracing::warn!(%error, "the changed certificate is not taken up; the old one stays in use");
                        told = Some(error.clone());
                    }
                    doubted = Some(error);
                }
            }
        }
    }
}

fn read_both(files: &TlsFiles) -> Result<Text, TlsError> {
    Ok(Text { cert: read(&files.cert)?, key: read(&files.key)? })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |why: String| TlsError { path: path.to_owned(), why };
    let read = || -> io::Result<Option<Vec<u8>>> {
        let size = std::fs::metadata(path)?.len();
        if size > FILE_BYTES_MAX { Ok(None) } else { std::fs::read(path).map(Some) }
    };
    match read() {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes; is it a PEM file?"))),
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

fn certify(files: &TlsFiles, text: &Text, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let of_cert = |why: String| TlsError { path: files.cert.clone(), why };
    let of_key = |why: String| TlsError { path: files.key.clone(), why };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text.cert)
        .collect::<Result<_, _>>()
        .map_err(|error| of_cert(format!("is not whole as PEM: {error}")))?;
    if chain.is_empty() {
        let text = "holds no certificate; a PEM file with -----BEGIN CERTIFICATE----- is needed";
        return Err(of_cert(text.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&text.key).map_err(|error| {
        of_key(match error {
            pem::Error::NoItemsFound if holds(&text.key, b"ENCRYPTED") => {
                "the key is encrypted; write it without a password, `openssl pkey -in OLD -out NEW`"
                    .to_owned()
            }
            pem::Error::NoItemsFound => {
                "holds no private key; a PEM file with -----BEGIN PRIVATE KEY----- is needed".to_owned()
            }
            error => format!("is not whole as PEM: {error}"),
        })
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            of_key(format!("is not the key of the certificate in {}", files.cert.display()))
        }
        rustls::Error::InvalidCertificate(_) => of_cert(format!("the certificate cannot be used: {error}")),
        error => of_key(format!("the key cannot be used: {error}")),
    })
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
