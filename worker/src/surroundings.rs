//! What a client or a worker takes from the machine: connections, random numbers, a thread. A simulation of a whole system puts
//! its own in their place, so that nothing happens that its seed does not decide. No promise to applications.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// One connection. The halves are boxed: what that costs is nothing beside the system call of each use.
pub struct Conn {
    /// What the server sends.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the server is sent.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Our end.
    pub local: SocketAddr,
    /// The server's end.
    pub peer: SocketAddr,
}

impl Conn {
    /// Opens one over the machine's own network.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(address: SocketAddr) -> io::Result<Conn> {
        let stream = TcpStream::connect(address).await?;
        // Frames are small and already gathered into one write, so waiting for more only adds latency.
        stream.set_nodelay(true)?;
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        let (reader, writer) = stream.into_split();
        Ok(Conn { reader: Box::new(reader), writer: Box::new(writer), local, peer })
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("local", &self.local).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A simulated machine.
pub trait Simulated: Send + Sync + 'static {
    /// Opens a connection.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Conn>>;

    /// The next random number.
    fn random(&self) -> u64;
}

/// The machine: the real one, unless told otherwise.
#[derive(Clone, Default)]
pub(crate) struct Surroundings(Option<Arc<dyn Simulated>>);

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Surroundings(simulated)" } else { "Surroundings(real)" })
    }
}

impl Surroundings {
    pub(crate) fn simulated(machine: Arc<dyn Simulated>) -> Surroundings {
        Surroundings(Some(machine))
    }

    /// Whether threads are out of the question.
    pub(crate) fn is_simulated(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Conn> {
        match &self.0 {
            Some(machine) => machine.connect(address).await,
            None => Conn::open(address).await,
        }
    }

    /// Sixteen random bytes.
    pub(crate) fn bytes(&self) -> [u8; 16] {
        match &self.0 {
            Some(machine) => {
                (u128::from(machine.random()) << 64 | u128::from(machine.random())).to_be_bytes()
            }
            None => rand::random(),
        }
    }

    /// Uniform in 0..1.
    pub(crate) fn fraction(&self) -> f64 {
        match &self.0 {
            // As many bits as a fraction has.
            Some(machine) => (machine.random() >> 11) as f64 / (1_u64 << 53) as f64,
            None => rand::random(),
        }
    }
}
