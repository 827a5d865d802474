//! NATS JetStream through async-nats: publish with confirmation, one pull consumer with explicit acks.
use std::time::Duration;

use crate::{Consumer, Job, Opts, Producer, Protocol, Res};
use async_nats::jetstream::{self, consumer, stream};
use futures::{FutureExt, StreamExt};

#[derive(Clone)]
pub struct Nats(pub Opts);
impl Nats {
    async fn js(&self) -> Res<jetstream::Context> {
        let c = async_nats::connect(self.0.address(4222)).await?;
        // Many confirmations may be due: the caller's window bounds them.
        Ok(jetstream::context::ContextBuilder::new().max_ack_inflight(65536).build(c))
    }
}
/// Publishes and waits for the stream's confirmation.
pub struct Publisher(jetstream::Context);
/// Pulls; what it got is acknowledged with the next pull.
pub struct Puller {
    s: consumer::pull::Stream,
    pend: Vec<jetstream::Message>,
    double: bool,
    _js: jetstream::Context,
}
impl Protocol for Nats {
    type P = Publisher;
    type C = Puller;
    async fn reset(&self) -> Res<()> {
        let js = self.js().await?;
        let _ = js.delete_stream("BENCH").await;
        let st = js
            .create_stream(stream::Config {
                name: "BENCH".into(),
                subjects: vec!["bench.q".into()],
                retention: stream::RetentionPolicy::WorkQueue,
                storage: if self.0.text("storage", "file") == "memory" {
                    stream::StorageType::Memory
                } else {
                    stream::StorageType::File
                },
                ..Default::default()
            })
            .await?;
        st.create_consumer(consumer::pull::Config {
            durable_name: Some("w".into()),
            ack_policy: consumer::AckPolicy::Explicit,
            max_ack_pending: 100_000,
            ..Default::default()
        })
        .await?;
        Ok(())
    }
    async fn producer(&self, _: usize) -> Res<Publisher> {
        Ok(Publisher(self.js().await?))
    }
    async fn consumer(&self, _: usize) -> Res<Puller> {
        let js = self.js().await?;
        let c: consumer::PullConsumer = js.get_stream("BENCH").await?.get_consumer("w").await?;
        let s = c
            .stream()
            .max_messages_per_batch(self.0.number("cwindow", 1).max(1) as usize * 2)
            .messages()
            .await?;
        Ok(Puller { s, pend: vec![], double: self.0.number("double_ack", 0) == 1, _js: js })
    }
}
impl Producer for Publisher {
    async fn put(&mut self, jobs: &[Job]) -> Res<()> {
        let mut acks = Vec::with_capacity(jobs.len());
        for j in jobs {
            acks.push(self.0.publish("bench.q", bytes::Bytes::copy_from_slice(j)).await?);
        }
        for a in acks {
            a.await?;
        }
        Ok(())
    }
}
impl Puller {
    async fn acks(&mut self) -> Res<()> {
        if self.double {
            for r in futures::future::join_all(self.pend.iter().map(|m| m.double_ack())).await {
                r?;
            }
            self.pend.clear();
        } else {
            for m in self.pend.drain(..) {
                m.ack().await?;
            }
        }
        Ok(())
    }
}
impl Consumer for Puller {
    async fn take<F: FnMut(&[u8]) + Send>(&mut self, max: usize, wait: Duration, mut f: F) -> Res<usize> {
        self.acks().await?;
        let Ok(m) = tokio::time::timeout(wait, self.s.next()).await else { return Ok(0) };
        let mut m = m.ok_or("stream ended")??;
        loop {
            f(&m.payload);
            self.pend.push(m);
            if self.pend.len() >= max {
                break;
            }
            match self.s.next().now_or_never() {
                Some(Some(Ok(n))) => m = n,
                _ => break,
            }
        }
        Ok(self.pend.len())
    }
    async fn flush(&mut self) -> Res<()> {
        self.acks().await?;
        self._js.client().flush().await?;
        Ok(())
    }
}
