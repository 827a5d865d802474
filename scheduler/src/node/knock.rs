//! Whether anybody listens at a port.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;

/// Longest wait for an answer: as long as a standby waits between two readings, which it does meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether the machine at `door`, `host:port`, says that nobody listens there. Whatever else happens, no answer above all, tells nothing.
///
/// A process that is killed loses its ports at once, one that stands still keeps them; both are long in their graves by the gossip
/// before that notices. A connection that is made is closed without a word.
pub(super) async fn is_closed(door: &str) -> bool {
    let knocked = tokio::time::timeout(PATIENCE, TcpStream::connect(door)).await;
    matches!(knocked, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn only_a_refusal_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let door = listener.local_addr().expect("it has an address").to_string();
        assert!(!is_closed(&door).await);
        drop(listener);
        assert!(is_closed(&door).await);
        for door in ["no-such-host.invalid:1", "no address", "127.0.0.1:99999"] {
            assert!(!is_closed(door).await, "{door}");
        }
    }

    /// The backlog of a listener that takes nobody is full after a while; nobody answers then.
    #[actix_rt::test]
    async fn who_does_not_answer_tells_nothing() {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let listener = socket.listen(1).expect("it listens");
        let door = listener.local_addr().expect("it has an address").to_string();
        let mut waiting = Vec::new();
        for _ in 0..8 {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, TcpStream::connect(&door)).await {
                waiting.push(stream);
            }
        }
        assert!(waiting.len() < 8, "the backlog is full");
        assert!(!is_closed(&door).await);
    }
}
