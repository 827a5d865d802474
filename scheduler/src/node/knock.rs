//! Whether anybody listens at a port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// Knocks at one door after the other, beside everything else: a name server or a machine that does not answer keeps nobody waiting, and has
/// one knock to answer at a time.
#[derive(Debug, Default)]
pub(super) struct Knocks {
    under_way: Option<(String, JoinHandle<bool>)>,
    /// The door that the last knock has found closed.
    closed: Option<String>,
}

impl Knocks {
    /// Whether the last knock at `door`, `host:port`, has found it closed. Knocks again unless a knock is under way.
    pub(super) async fn find_closed(&mut self, door: &str) -> bool {
        if let Some((knocked_at, knock)) = self.under_way.take_if(|(_, knock)| knock.is_finished()) {
            // A knock that panicked tells nothing.
            self.closed = knock.await.unwrap_or(false).then_some(knocked_at);
        }
        if self.under_way.is_none() {
            let theirs = door.to_owned();
            self.under_way = Some((door.to_owned(), tokio::spawn(async move { is_closed(&theirs).await })));
        }
        self.closed.as_deref() == Some(door)
    }

    /// There is no doubt: what was found before counts no more, nor what a knock under way will find.
    pub(super) fn forget(&mut self) {
        self.closed = None;
        if let Some((door, _)) = &mut self.under_way {
            door.clear();
        }
    }
}

/// Whether the machine at `door` says that nobody listens there. Whatever else happens, no answer above all, tells nothing.
///
/// A process that is killed loses its ports at once; one that stands still keeps them, and a machine that is gone says nothing. A
/// connection that is made is closed without a word.
async fn is_closed(door: &str) -> bool {
    let Ok(found) = tokio::net::lookup_host(door).await else { return false };
    let found: Vec<SocketAddr> = found.collect();
    for addr in &found {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(addr)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {}
            _ => return false,
        }
    }
    !found.is_empty()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn open_door() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let door = listener.local_addr().expect("it has an address").to_string();
        (listener, door)
    }

    #[actix_rt::test]
    async fn only_a_refusal_counts() {
        let (listener, door) = open_door();
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
        let mut knocks = Knocks::default();
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            assert!(!knocks.find_closed(&door).await);
        }
        assert!(begun.elapsed() < PATIENCE, "nobody waits for an answer");
        assert!(!is_closed(&door).await);
    }

    #[actix_rt::test]
    async fn what_is_found_counts_for_its_door_and_while_there_is_doubt() {
        let (listener, door) = open_door();
        drop(listener);
        let mut knocks = Knocks::default();
        let found = async |knocks: &mut Knocks| {
            for _ in 0..1_000 {
                if knocks.find_closed(&door).await {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            false
        };
        assert!(found(&mut knocks).await);
        let (_listener, other) = open_door();
        assert!(!knocks.find_closed(&other).await);
        assert!(found(&mut knocks).await);
        knocks.forget();
        assert!(!knocks.find_closed(&other).await);
        // One that was under way when the doubt ended is not believed when it comes back.
        let mut late = Knocks::default();
        assert!(!late.find_closed(&door).await);
        late.forget();
        tokio::time::sleep(2 * PATIENCE).await;
        assert!(!late.find_closed(&door).await);
    }
}
