//! Whom an owner believes, byte by byte.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
const KEY: IntroductionKey = IntroductionKey([7; 16]);
const OTHER: IntroductionKey = IntroductionKey([8; 16]);

fn owner(keys: &[IntroductionKey]) -> Introductions {
    Introductions::new(keys.iter().copied(), Clock::system()).at("native")
}

fn now() -> Timestamp {
    Clock::system().system_wall()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn peer() -> SocketAddr {
    addr("203.0.113.9:41234")
}

fn made(key: IntroductionKey, door: &str, now: Timestamp) -> Vec<u8> {
    key.introduce(door, peer(), addr("10.0.0.6:7421"), now)
}

/// As the public specification of the protocol has them.
#[test]
fn the_first_bytes_are_golden() {
    let v4 = made(KEY, "native", now());
    let head = b"\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a\x21\x11\x00\x38\xcb\x00\x71\x09\x0a\x00\x00\x06\xa1\x12\x1c\xfd\xe7\x00\x29\x01";
    assert_eq!((&v4[..head.len()], v4.len()), (&head[..], 72));
    let v6 = KEY.introduce("native", addr("[2001:db8::1]:1"), addr("[2001:db8::2]:2"), now());
    assert_eq!((&v6[12..16], v6.len()), (&b"\x21\x21\x00\x50"[..], BYTES_MAX));
}

#[test]
fn a_node_of_the_cluster_is_believed() {
    for (peer, at) in [
        ("203.0.113.9:41234", "10.0.0.6:7421"),
        ("[2001:db8::1]:41234", "[2001:db8::2]:7421"),
        ("[::ffff:203.0.113.9]:5", "0.0.0.0:7421"),
    ] {
        let (peer, made) = (addr(peer), KEY.introduce("native", addr(peer), addr(at), now()));
        for keys in [[KEY, OTHER], [OTHER, KEY]] {
            let look = owner(&keys).look(&[&made[..], b"more"].concat());
            assert_eq!(look, Look::Introduced(made.len(), Some(peer)));
        }
        for length in 0..made.len() {
            assert_eq!(owner(&[KEY]).look(&made[..length]), Look::Unfinished, "{length}");
        }
    }
}

#[test]
fn nobody_else_is() {
    let wrong = |said: &[u8]| matches!(owner(&[KEY]).look(said), Look::Wrong(_));
    assert!(wrong(&made(OTHER, "native", now())), "another cluster, or an owner before the last");
    assert!(wrong(&made(KEY, "http", now())), "for another door");
    let right = made(KEY, "native", now());
    for bit in 0..right.len() * 8 {
        let mut forged = right.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let look = owner(&[KEY]).look(&forged);
        assert!(!matches!(look, Look::Introduced(..)), "bit {bit}: {look:?}");
    }
    // What HAProxy sends by itself, for somebody and for its own probes.
    let plain = [&right[..14], &[0, 12], &right[16..28], b"GET / HTTP/1.1"].concat();
    let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
    assert!(wrong(&plain) && wrong(&local));
}

#[test]
fn what_is_old_names_nobody() {
    let named = |at: u64| match owner(&[KEY]).look(&made(KEY, "native", Timestamp(at))) {
        Look::Introduced(_, named) => named.is_some(),
        look => panic!("{look:?}"),
    };
    // A busy machine may take seconds between the two looks at its clock.
    let (now, slack) = (now().0, 20_000);
    assert!(named(now - AGE_MS_MAX + slack) && named(now + AGE_MS_MAX - slack));
    assert!(!named(now - AGE_MS_MAX - slack) && !named(now + AGE_MS_MAX + slack));
}

#[test]
fn what_peers_say_themselves_is_theirs() {
    for said in
        ["GET / HTTP/1.1\r\n", "\r\nGET /", "HELLO {}", "\u{16}\u{3}", "\0\0\0\u{9}", "\r\n\r\n\0\r\nQUIT\r"]
    {
        assert_eq!(owner(&[KEY]).look(said.as_bytes()), Look::Peer, "{said:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_looked_at(said in proptest::collection::vec(any::<u8>(), 0..200), signed: bool) {
        let said = if signed { [&SIGNATURE[..], &said].concat() } else { said };
        prop_assert!(!matches!(owner(&[KEY]).look(&said), Look::Introduced(..)));
    }
}

/// Two relays, each of which has introduced whom it saw: the one next to the peer is right. Byte by byte, so that no cut matters.
#[tokio::test]
async fn the_words_next_to_the_peer_count() {
    let outer = OTHER.introduce("native", addr("10.0.0.6:50000"), addr("10.0.0.7:7421"), now());
    let said = [&outer[..], &made(KEY, "native", now()), b"hello"].concat();
    let (mut reader, mut writer) = tokio::io::duplex(1);
    let saying = tokio::spawn(async move { writer.write_all(&said).await });
    let (mut origin, mut buffer) =
        (Origin::open(addr("10.0.0.7:50001"), Some(owner(&[KEY, OTHER]))), BytesMut::new());
    origin.settle(&mut reader, &mut buffer).await.expect("believed");
    while buffer.len() < 5 {
        reader.read_buf(&mut buffer).await.expect("more");
    }
    assert_eq!((origin.peer(), &buffer[..]), (peer(), &b"hello"[..]));
    saying.await.expect("no panic").expect("said");
}

#[tokio::test]
async fn a_stream_loses_the_introduction_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let take = async |said: Vec<u8>| {
        let mut client = TcpStream::connect(at).await.expect("connected");
        client.write_all(&said).await.expect("said");
        let (mut stream, from) = listener.accept().await.expect("taken");
        let taken = owner(&[KEY]).take(&mut stream, from).await;
        client.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the rest");
        (taken.map(|taken| taken.map(|peer| (peer != from).then_some(peer))), rest)
    };
    let (taken, rest) = take([&made(KEY, "native", now())[..], b"GET /"].concat()).await;
    assert_eq!((taken.expect("believed"), &rest[..]), (Some(Some(peer())), &b"GET /"[..]));
    let (taken, rest) = take(b"\r\nGET /".to_vec()).await;
    assert_eq!((taken.expect("nobody introduced"), &rest[..]), (Some(None), &b"\r\nGET /"[..]));
    let (taken, _) = take([&made(OTHER, "native", now())[..], b"GET /"].concat()).await;
    assert!(taken.is_err());
}
