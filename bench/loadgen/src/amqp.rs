//! RabbitMQ through lapin: publish with confirms, consume with a prefetch and acks.
use std::time::Duration;

use crate::{Consumer, Job, Opts, Producer, Protocol, Res};
use futures::{FutureExt, StreamExt};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, options::*, types::*};

#[derive(Clone)]
pub struct Amqp(pub Opts);
impl Amqp {
    async fn open(&self) -> Res<(Connection, Channel)> {
        let c = Connection::connect(
            &format!("amqp://{}/%2f", self.0.address(5672)),
            ConnectionProperties::default(),
        )
        .await?;
        let ch = c.create_channel().await?;
        Ok((c, ch))
    }
}
/// Publishes and waits for the confirms.
pub struct Publisher {
    _c: Connection,
    ch: Channel,
    props: BasicProperties,
    confirm: bool,
}
/// Consumes; what it got is acknowledged with the next take.
pub struct Subscriber {
    _c: Connection,
    ch: Channel,
    s: lapin::Consumer,
    pend: Vec<u64>,
    multiple: bool,
}
impl Protocol for Amqp {
    type P = Publisher;
    type C = Subscriber;
    async fn reset(&self) -> Res<()> {
        let (_c, ch) = self.open().await?;
        ch.queue_delete("q".into(), QueueDeleteOptions::default()).await?;
        let mut args = FieldTable::default();
        let t = self.0.text("qtype", "classic");
        args.insert("x-queue-type".into(), AMQPValue::LongString(t.into()));
        if let Some(v) = Some(self.0.number("qversion", 0)).filter(|v| *v > 0) {
            args.insert("x-queue-version".into(), AMQPValue::LongInt(v as i32));
        }
        let durable = self.0.number("durable", 1) == 1;
        ch.queue_declare("q".into(), QueueDeclareOptions { durable, ..Default::default() }, args).await?;
        Ok(())
    }
    async fn producer(&self, _: usize) -> Res<Publisher> {
        let (_c, ch) = self.open().await?;
        let confirm = self.0.number("confirm", 1) == 1;
        if confirm {
            ch.confirm_select(ConfirmSelectOptions::default()).await?;
        }
        let props = BasicProperties::default().with_delivery_mode(if self.0.number("durable", 1) == 1 {
            2
        } else {
            1
        });
        Ok(Publisher { _c, ch, props, confirm })
    }
    async fn consumer(&self, i: usize) -> Res<Subscriber> {
        let (_c, ch) = self.open().await?;
        ch.basic_qos(self.0.number("prefetch", 100) as u16, BasicQosOptions::default()).await?;
        let s = ch
            .basic_consume(
                "q".into(),
                format!("c{i}").into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok(Subscriber { _c, ch, s, pend: vec![], multiple: self.0.number("multiple", 0) == 1 })
    }
}
impl Producer for Publisher {
    async fn put(&mut self, jobs: &[Job]) -> Res<()> {
        let mut acks = Vec::with_capacity(jobs.len());
        for j in jobs {
            acks.push(
                self.ch
                    .basic_publish(
                        "".into(),
                        "q".into(),
                        BasicPublishOptions::default(),
                        j,
                        self.props.clone(),
                    )
                    .await?,
            );
        }
        if self.confirm {
            for a in acks {
                a.await?;
            }
        }
        Ok(())
    }
}
impl Subscriber {
    async fn acks(&mut self) -> Res<()> {
        let tags = std::mem::take(&mut self.pend);
        if self.multiple {
            if let Some(&t) = tags.last() {
                self.ch.basic_ack(t, BasicAckOptions { multiple: true }).await?;
            }
        } else {
            for t in tags {
                self.ch.basic_ack(t, BasicAckOptions::default()).await?;
            }
        }
        Ok(())
    }
}
impl Consumer for Subscriber {
    async fn take<F: FnMut(&[u8]) + Send>(&mut self, max: usize, wait: Duration, mut f: F) -> Res<usize> {
        self.acks().await?;
        let Ok(d) = tokio::time::timeout(wait, self.s.next()).await else { return Ok(0) };
        let mut d = d.ok_or("consumer ended")??;
        loop {
            f(&d.data);
            self.pend.push(d.delivery_tag);
            if self.pend.len() >= max {
                break;
            }
            match self.s.next().now_or_never() {
                Some(Some(Ok(n))) => d = n,
                _ => break,
            }
        }
        Ok(self.pend.len())
    }
    async fn flush(&mut self) -> Res<()> {
        self.acks().await?;
        // A method that is answered, behind the acks on the same channel: the broker has read them then.
        self.ch.basic_qos(100, BasicQosOptions::default()).await?;
        Ok(())
    }
}
