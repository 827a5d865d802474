//! The way to PostgreSQL: one thread for all connections of a process, statements that end in time, errors sorted by what they
//! leave behind.
//!
//! Every statement is sent without a name and alone: nothing of ours stays in a session, so that PgBouncer may hand the next one to
//! another. Whoever asks waits on a channel and not in the runtime, so reads are legal from any thread.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longest wait for a connection; a host that is gone is tried again.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
/// Longest wait for a statement, from when nothing is waited for before it. What has no answer by then may have happened or not.
pub(super) const STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// Silence of the network after which a connection is given up.
const NETWORK_WAIT: Duration = Duration::from_secs(8);
/// Silence after which the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Where a PostgreSQL is, with what it asks for. The password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: tokio_postgres::Config,
    ca: Option<PathBuf>,
}

impl DatabaseUrl {
    /// Reads `postgres://user:password@host:port/database?sslmode=require`; several hosts are tried in turn.
    ///
    /// # Errors
    /// A sentence about what is wrong; it repeats no password.
    pub fn parse(url: &str) -> Result<DatabaseUrl, String> {
        if !is_database_url(url) {
            return Err("a database is named postgres://user@host/database".to_owned());
        }
        let mut config = tokio_postgres::Config::from_str(url)
            .map_err(|error| format!("the database URL cannot be read: {}", source_text(&error)))?;
        if config.get_dbname().is_none() {
            return Err("the database URL names no database; write postgres://user@host/database".to_owned());
        }
        config
            .connect_timeout(CONNECT_WAIT)
            .tcp_user_timeout(NETWORK_WAIT)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            // After a fail-over of the database only the new primary is of use.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("windlass");
        }
        Ok(DatabaseUrl { config, ca: None })
    }

    /// File with the certificates that are trusted for TLS; those of the system without one.
    pub fn trust(&mut self, ca: Option<PathBuf>) {
        self.ca = ca;
    }

    /// Hosts and database, for people.
    #[must_use]
    pub fn place(&self) -> String {
        use tokio_postgres::config::Host;
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        format!("postgres://{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// Whether a text names a database rather than anything else.
#[must_use]
pub fn is_database_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Why a statement has no result, by what it leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// No connection: nothing was sent.
    #[error("PostgreSQL cannot be reached: {0}")]
    Away(String),
    /// It was sent, and nobody knows whether it happened.
    #[error("PostgreSQL gave no answer: {0}")]
    Lost(String),
    /// PostgreSQL has refused it for want of space or memory; it did not happen.
    #[error("PostgreSQL is out of resources: {0}")]
    Full(String),
    /// PostgreSQL has refused it for good: rights, tables, syntax. It did not happen.
    #[error("PostgreSQL refuses: {0}")]
    Refused(String),
}

impl DbError {
    /// [`STATEMENT_WAIT`] is over.
    pub(super) fn late() -> DbError {
        DbError::Lost(format!("no answer within {} s", STATEMENT_WAIT.as_secs()))
    }

    pub(super) fn of(error: &tokio_postgres::Error) -> DbError {
        let text = source_text(error);
        let Some(code) = error.code() else { return DbError::Lost(text) };
        match code.code().get(..2) {
            Some("53") => DbError::Full(text),
            // Connection, operator intervention, invalid transaction state (a primary that became a standby), rollback, system.
            Some("08" | "57" | "25" | "40" | "58" | "XX") | None => DbError::Lost(text),
            Some(_) => DbError::Refused(text),
        }
    }
}

/// What an error says, with what PostgreSQL said.
fn source_text(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// The thread of all connections, and where they go.
#[derive(Debug, Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: DatabaseUrl,
    tls: Option<ClientConfig>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last handle may go inside another runtime, where waiting is not legal.
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Starts the thread; nothing is connected yet.
    ///
    /// # Errors
    /// A sentence: the certificates cannot be read, or the system gives no thread.
    pub fn new(url: DatabaseUrl) -> Result<Database, String> {
        let tls = match url.config.get_ssl_mode() {
            SslMode::Disable => None,
            // TLS where the server offers it; whether a certificate is asked for is the mode's affair, and then it is checked.
            _ => Some(tls_config(url.ca.as_deref())?),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|error| format!("the system gives no thread for PostgreSQL: {error}"))?;
        Ok(Database { inner: Arc::new(Inner { url, tls, runtime: Some(runtime) }) })
    }

    /// Hosts and database, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.inner.url.place()
    }

    /// Carries out work on the thread of the connections and waits for it, on whatever thread this is.
    ///
    /// # Errors
    /// [`DbError::Away`] when the thread is gone, otherwise what the work says.
    pub fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DbError>> + Send + 'static,
    ) -> Result<T, DbError> {
        let gone = || DbError::Away("the connection's thread has ended".to_owned());
        let runtime = self.inner.runtime.as_ref().ok_or_else(gone)?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Nobody listens when whoever asked was ended meanwhile.
            let _ = tell.send(work.await);
        });
        told.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// The same, for whoever can await.
    ///
    /// # Errors
    /// As [`wait`](Database::wait).
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DbError>> + Send + 'static,
    ) -> Result<T, DbError> {
        let gone = || DbError::Away("the connection's thread has ended".to_owned());
        let runtime = self.inner.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(work).await.unwrap_or_else(|_| Err(gone()))
    }

    /// Starts work that goes on by itself on the thread of the connections.
    ///
    /// # Errors
    /// [`DbError::Away`] when the thread is gone.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<tokio::task::JoinHandle<T>, DbError> {
        let gone = || DbError::Away("the connection's thread has ended".to_owned());
        Ok(self.inner.runtime.as_ref().ok_or_else(gone)?.spawn(work))
    }

    async fn connect(&self) -> Result<Client, DbError> {
        let config = &self.inner.url.config;
        let away = |error: &tokio_postgres::Error| DbError::Away(source_text(error));
        let connecting = async {
            match &self.inner.tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await.map_err(|e| away(&e))?;
                    tokio::spawn(connection);
                    Ok(client)
                }
                Some(tls) => {
                    let tls = MakeRustlsConnect::new(tls.clone());
                    let (client, connection) = config.connect(tls).await.map_err(|e| away(&e))?;
                    tokio::spawn(connection);
                    Ok(client)
                }
            }
        };
        // The limit of the configuration counts for the TCP connection alone.
        let limit = CONNECT_WAIT * 2;
        tokio::time::timeout(limit, connecting)
            .await
            .unwrap_or_else(|_| Err(DbError::Away(format!("no connection within {} s", limit.as_secs()))))
    }
}

fn tls_config(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let failed = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
            let found = CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))?;
            for certificate in found {
                roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
            }
            if roots.is_empty() {
                return Err(format!("{}: there is no certificate in it", file.display()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A parameter with its type.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection, made when it is needed and made anew when it broke.
#[derive(Debug)]
pub struct Session {
    database: Database,
    client: Option<Arc<Client>>,
}

impl Session {
    /// Not connected yet.
    #[must_use]
    pub fn new(database: Database) -> Session {
        Session { database, client: None }
    }

    /// The connection, for statements that are sent one behind the other.
    pub(super) async fn client(&mut self) -> Result<Arc<Client>, DbError> {
        if let Some(client) = self.live() {
            return Ok(client);
        }
        let client = Arc::new(self.database.connect().await?);
        Ok(Arc::clone(self.client.insert(client)))
    }

    /// The connection, if it is there and not known to be broken.
    pub(super) fn live(&self) -> Option<Arc<Client>> {
        self.client.clone().filter(|client| !client.is_closed())
    }

    /// Gives the connection up: what has no answer on it may have happened or not.
    pub(super) fn give_up(&mut self) {
        self.client = None;
    }

    /// Sends one statement with its parameters, in one round trip.
    ///
    /// # Errors
    /// [`DbError`]. After [`DbError::Lost`] the connection is given up.
    pub async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, DbError> {
        let client = self.client().await?;
        let asked = tokio::time::timeout(STATEMENT_WAIT, client.query_typed(sql, params)).await;
        self.settle(asked)
    }

    /// Sends statements without parameters, all in one transaction.
    ///
    /// # Errors
    /// As [`query`](Session::query).
    pub async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        let client = self.client().await?;
        let asked = tokio::time::timeout(STATEMENT_WAIT, client.batch_execute(sql)).await;
        self.settle(asked)
    }

    fn settle<T>(
        &mut self,
        asked: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, DbError> {
        let error = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => DbError::of(&error),
            Err(_) => DbError::late(),
        };
        if matches!(error, DbError::Lost(_)) {
            self.client = None;
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_its_password_shown_nowhere() {
        let url = DatabaseUrl::parse("postgres://app:secret@db1:5433,db2:5432/jobs").unwrap();
        assert_eq!(url.place(), "postgres://db1:5433,db2:5432/jobs");
        assert!(!format!("{url:?}").contains("secret"));
        for wrong in ["redis://x/y", "postgres://app:secret@db1", "postgres://app:secret@db1:port/jobs"] {
            let error = DatabaseUrl::parse(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
