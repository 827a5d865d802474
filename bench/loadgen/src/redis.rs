//! Redis, RESP2 by hand. Lists: LPUSH, then BRPOPLPUSH to a list per consumer, then LREM. Streams: XADD, XREADGROUP, XACK and
//! XDEL.
use std::time::Duration;

use crate::{Consumer, Job, Opts, Producer, Protocol, Res};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A value of the protocol; text as a range of the buffer that it was read into. No answer's number matters here.
#[derive(Debug)]
pub enum Value {
    Nil,
    Int,
    Str(usize, usize),
    Arr(Vec<Value>),
}

/// A number up to the end of its line, and where the next line begins; `None` when it has not all arrived.
fn line(b: &[u8], p: usize) -> Option<(i64, usize)> {
    let (mut i, mut neg, mut v) = (p, false, 0i64);
    while i < b.len() {
        match b[i] {
            b'-' => neg = true,
            b'\r' => return if i + 1 < b.len() { Some((if neg { -v } else { v }, i + 2)) } else { None },
            c => v = v.wrapping_mul(10).wrapping_add((c.wrapping_sub(b'0')) as i64),
        }
        i += 1;
    }
    None
}

/// A value that begins at `p`, and where the next one does; `None` when it has not all arrived.
fn parse(b: &[u8], p: usize) -> Res<Option<(Value, usize)>> {
    if p >= b.len() {
        return Ok(None);
    }
    let Some((n, q)) = line(b, p + 1) else { return Ok(None) };
    Ok(match b[p] {
        b'+' => Some((Value::Str(p + 1, q - 2), q)),
        b'-' => return Err(String::from_utf8_lossy(&b[p..q - 2]).into_owned().into()),
        b':' => Some((Value::Int, q)),
        b'$' if n < 0 => Some((Value::Nil, q)),
        b'$' => {
            let e = q + n as usize;
            if b.len() < e + 2 { None } else { Some((Value::Str(q, e), e + 2)) }
        }
        b'*' if n < 0 => Some((Value::Nil, q)),
        b'*' => {
            let (mut v, mut q) = (Vec::with_capacity(n as usize), q);
            for _ in 0..n {
                match parse(b, q)? {
                    Some((x, r)) => {
                        v.push(x);
                        q = r;
                    }
                    None => return Ok(None),
                }
            }
            Some((Value::Arr(v), q))
        }
        c => return Err(format!("bad RESP byte {c}").into()),
    })
}

/// A connection with its buffers: what was read from `p` on is still to be parsed.
pub struct Conn {
    s: TcpStream,
    r: Vec<u8>,
    p: usize,
    w: Vec<u8>,
}
impl Conn {
    async fn new(a: &str) -> Res<Self> {
        let s = TcpStream::connect(a).await?;
        s.set_nodelay(true)?;
        Ok(Conn { s, r: Vec::new(), p: 0, w: Vec::new() })
    }
    fn cmd(&mut self, args: &[&[u8]]) {
        use std::io::Write;
        write!(self.w, "*{}\r\n", args.len()).unwrap();
        for a in args {
            write!(self.w, "${}\r\n", a.len()).unwrap();
            self.w.extend_from_slice(a);
            self.w.extend_from_slice(b"\r\n");
        }
    }
    async fn send(&mut self) -> Res<()> {
        self.s.write_all(&self.w).await?;
        self.w.clear();
        if self.p == self.r.len() {
            self.r.clear();
            self.p = 0;
        }
        Ok(())
    }
    /// Next reply; string ranges point into `self.r` and stay valid until the next `send`.
    async fn reply(&mut self) -> Res<Value> {
        loop {
            if let Some((v, q)) = parse(&self.r, self.p)? {
                self.p = q;
                return Ok(v);
            }
            self.r.reserve(65536);
            if self.s.read_buf(&mut self.r).await? == 0 {
                return Err("closed".into());
            }
        }
    }
    async fn one(&mut self, args: &[&[u8]]) -> Res<Value> {
        self.cmd(args);
        self.send().await?;
        self.reply().await
    }
}
#[derive(Clone)]
pub struct List(pub Opts);
#[derive(Clone)]
pub struct Stream(pub Opts);
pub struct ListProducer(Conn, bool);
pub struct ListConsumer(Conn, Vec<u8>, Vec<Vec<u8>>);
pub struct StreamProducer(Conn);
pub struct StreamConsumer(Conn, Vec<u8>, Vec<Vec<u8>>);

impl Protocol for List {
    type P = ListProducer;
    type C = ListConsumer;
    async fn reset(&self) -> Res<()> {
        Conn::new(&self.0.address(6379)).await?.one(&[b"FLUSHALL"]).await?;
        Ok(())
    }
    async fn producer(&self, _: usize) -> Res<ListProducer> {
        Ok(ListProducer(Conn::new(&self.0.address(6379)).await?, self.0.number("variadic", 0) == 1))
    }
    async fn consumer(&self, i: usize) -> Res<ListConsumer> {
        Ok(ListConsumer(Conn::new(&self.0.address(6379)).await?, format!("proc:{i}").into_bytes(), vec![]))
    }
}
impl Producer for ListProducer {
    async fn put(&mut self, jobs: &[Job]) -> Res<()> {
        if self.1 {
            let mut a: Vec<&[u8]> = vec![b"LPUSH", b"q"];
            a.extend(jobs.iter().map(|j| &j[..]));
            self.0.one(&a).await?;
            return Ok(());
        }
        for j in jobs {
            self.0.cmd(&[b"LPUSH", b"q", j]);
        }
        self.0.send().await?;
        for _ in jobs {
            self.0.reply().await?;
        }
        Ok(())
    }
}
impl Consumer for ListConsumer {
    async fn take<F: FnMut(&[u8]) + Send>(&mut self, max: usize, wait: Duration, mut f: F) -> Res<usize> {
        let had = self.2.len();
        let blocking = max == 1 || had == 0;
        for a in std::mem::take(&mut self.2) {
            self.0.cmd(&[b"LREM", &self.1, b"-1", &a]);
        }
        let t = format!("{:.3}", wait.as_secs_f64());
        for i in 0..max {
            if i == 0 && blocking {
                self.0.cmd(&[b"BRPOPLPUSH", b"q", &self.1, t.as_bytes()]);
            } else {
                self.0.cmd(&[b"RPOPLPUSH", b"q", &self.1]);
            }
        }
        self.0.send().await?;
        for _ in 0..had {
            self.0.reply().await?;
        }
        for _ in 0..max {
            if let Value::Str(a, b) = self.0.reply().await? {
                f(&self.0.r[a..b]);
                self.2.push(self.0.r[a..b].to_vec());
            }
        }
        Ok(self.2.len())
    }
    async fn flush(&mut self) -> Res<()> {
        for a in std::mem::take(&mut self.2) {
            self.0.one(&[b"LREM", &self.1, b"-1", &a]).await?;
        }
        Ok(())
    }
}
impl Protocol for Stream {
    type P = StreamProducer;
    type C = StreamConsumer;
    async fn reset(&self) -> Res<()> {
        let mut c = Conn::new(&self.0.address(6379)).await?;
        c.one(&[b"FLUSHALL"]).await?;
        c.one(&[b"XGROUP", b"CREATE", b"s", b"g", b"0", b"MKSTREAM"]).await?;
        Ok(())
    }
    async fn producer(&self, _: usize) -> Res<StreamProducer> {
        Ok(StreamProducer(Conn::new(&self.0.address(6379)).await?))
    }
    async fn consumer(&self, i: usize) -> Res<StreamConsumer> {
        Ok(StreamConsumer(Conn::new(&self.0.address(6379)).await?, format!("c{i}").into_bytes(), vec![]))
    }
}
impl Producer for StreamProducer {
    async fn put(&mut self, jobs: &[Job]) -> Res<()> {
        for j in jobs {
            self.0.cmd(&[b"XADD", b"s", b"*", b"d", j]);
        }
        self.0.send().await?;
        for _ in jobs {
            self.0.reply().await?;
        }
        Ok(())
    }
}
impl StreamConsumer {
    fn acks(&mut self) -> usize {
        let ids = std::mem::take(&mut self.2);
        if ids.is_empty() {
            return 0;
        }
        let mut a: Vec<&[u8]> = vec![b"XACK", b"s", b"g"];
        a.extend(ids.iter().map(|i| &i[..]));
        self.0.cmd(&a);
        let mut a: Vec<&[u8]> = vec![b"XDEL", b"s"];
        a.extend(ids.iter().map(|i| &i[..]));
        self.0.cmd(&a);
        2
    }
}
impl Consumer for StreamConsumer {
    async fn take<F: FnMut(&[u8]) + Send>(&mut self, max: usize, wait: Duration, mut f: F) -> Res<usize> {
        let had = self.acks();
        let (n, t) = (max.to_string(), wait.as_millis().to_string());
        let me = self.1.clone();
        self.0.cmd(&[
            b"XREADGROUP",
            b"GROUP",
            b"g",
            &me,
            b"COUNT",
            n.as_bytes(),
            b"BLOCK",
            t.as_bytes(),
            b"STREAMS",
            b"s",
            b">",
        ]);
        self.0.send().await?;
        for _ in 0..had {
            self.0.reply().await?;
        }
        // [[stream, [[id, [field, value]], ...]]]
        if let Value::Arr(streams) = self.0.reply().await? {
            for s in streams {
                let Value::Arr(mut kv) = s else { continue };
                let Some(Value::Arr(entries)) = kv.pop() else { continue };
                for e in entries {
                    let Value::Arr(e) = e else { continue };
                    if let [Value::Str(a, b), Value::Arr(fv)] = &e[..] {
                        if let Value::Str(c, d) = fv[1] {
                            f(&self.0.r[c..d]);
                        }
                        self.2.push(self.0.r[*a..*b].to_vec());
                    }
                }
            }
        }
        Ok(self.2.len())
    }
    async fn flush(&mut self) -> Res<()> {
        let k = self.acks();
        self.0.send().await?;
        for _ in 0..k {
            self.0.reply().await?;
        }
        Ok(())
    }
}
