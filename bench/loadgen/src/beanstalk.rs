//! beanstalkd's text protocol by hand: put, reserve-with-timeout, delete, pipelined.
use std::time::Duration;

use crate::{Consumer, Job, Opts, Producer, Protocol, Res};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone)]
pub struct Beanstalk(pub Opts);
/// A connection with its buffers, and the jobs that it has reserved and not deleted.
pub struct Conn {
    s: TcpStream,
    r: Vec<u8>,
    p: usize,
    w: Vec<u8>,
    ids: Vec<u64>,
}
impl Conn {
    async fn new(a: &str) -> Res<Self> {
        let s = TcpStream::connect(a).await?;
        s.set_nodelay(true)?;
        Ok(Conn { s, r: Vec::new(), p: 0, w: Vec::new(), ids: Vec::new() })
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
    async fn fill(&mut self) -> Res<()> {
        self.r.reserve(65536);
        if self.s.read_buf(&mut self.r).await? == 0 {
            return Err("closed".into());
        }
        Ok(())
    }
    async fn line(&mut self) -> Res<(usize, usize)> {
        let mut from = self.p;
        loop {
            if let Some(i) = self.r[from..].windows(2).position(|w| w == b"\r\n") {
                let r = (self.p, from + i);
                self.p = from + i + 2;
                return Ok(r);
            }
            from = self.r.len().saturating_sub(1).max(self.p);
            self.fill().await?;
        }
    }
    async fn expect(&mut self, what: &[u8]) -> Res<()> {
        let (a, b) = self.line().await?;
        if !self.r[a..b].starts_with(what) {
            return Err(String::from_utf8_lossy(&self.r[a..b]).into_owned().into());
        }
        Ok(())
    }
}
impl Protocol for Beanstalk {
    type P = Conn;
    type C = Conn;
    async fn reset(&self) -> Res<()> {
        Ok(())
    }
    async fn producer(&self, _: usize) -> Res<Conn> {
        Conn::new(&self.0.address(11300)).await
    }
    async fn consumer(&self, _: usize) -> Res<Conn> {
        Conn::new(&self.0.address(11300)).await
    }
}
impl Producer for Conn {
    async fn put(&mut self, jobs: &[Job]) -> Res<()> {
        for j in jobs {
            self.w.extend_from_slice(b"put 1024 0 60 100\r\n");
            self.w.extend_from_slice(j);
            self.w.extend_from_slice(b"\r\n");
        }
        self.send().await?;
        for _ in jobs {
            self.expect(b"INSERTED").await?;
        }
        Ok(())
    }
}
impl Conn {
    fn deletes(&mut self) -> usize {
        use std::io::Write;
        let ids = std::mem::take(&mut self.ids);
        for i in &ids {
            write!(self.w, "delete {i}\r\n").unwrap();
        }
        ids.len()
    }
}
impl Consumer for Conn {
    async fn take<F: FnMut(&[u8]) + Send>(&mut self, max: usize, wait: Duration, mut f: F) -> Res<usize> {
        let had = self.deletes();
        // whole seconds only in this protocol; a pipelining consumer that just got jobs does not block
        let t = if had > 0 && max > 1 { 0 } else { wait.as_secs().max(1) };
        self.w.extend_from_slice(format!("reserve-with-timeout {t}\r\n").as_bytes());
        for _ in 1..max {
            self.w.extend_from_slice(b"reserve-with-timeout 0\r\n");
        }
        self.send().await?;
        for _ in 0..had {
            self.expect(b"DELETED").await?;
        }
        for _ in 0..max {
            let (a, b) = self.line().await?;
            if self.r[a..b].starts_with(b"RESERVED ") {
                let l = std::str::from_utf8(&self.r[a + 9..b])?;
                let (id, len) = l.split_once(' ').ok_or("bad RESERVED")?;
                let (id, len): (u64, usize) = (id.parse()?, len.parse()?);
                while self.r.len() < self.p + len + 2 {
                    self.fill().await?;
                }
                f(&self.r[self.p..self.p + len]);
                self.p += len + 2;
                self.ids.push(id);
            } else if !self.r[a..b].starts_with(b"TIMED_OUT") && !self.r[a..b].starts_with(b"DEADLINE_SOON") {
                return Err(String::from_utf8_lossy(&self.r[a..b]).into_owned().into());
            }
        }
        Ok(self.ids.len())
    }
    async fn flush(&mut self) -> Res<()> {
        let k = self.deletes();
        self.send().await?;
        for _ in 0..k {
            self.expect(b"DELETED").await?;
        }
        Ok(())
    }
}
