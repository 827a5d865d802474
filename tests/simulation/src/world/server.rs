//! The server from outside: it starts, dies, is called, and its parts talk to each other.

use windlass_core::limits;
use windlass_core::queue::{ChunkShape, Queue, QueueRecord, Tuning, Window, read};
use windlass_core::store::keys;

use super::{Answer, Body, Event, NodeEvent, Planted, World, queue_name};
use crate::disk::{Room, Source};
use crate::fault::What;
use crate::history::{self, Acted};
use crate::node::session::{ToServer, ToWorker};
use crate::node::{Local, Node, Op, Then};

impl World {
    /// Something will happen inside the server.
    pub(crate) fn node_event(&mut self, wait_ms: u64, event: NodeEvent) {
        self.later(wait_ms, Event::Node(self.node.process, event));
    }

    /// Something will happen inside the server after a read of the store.
    pub(crate) fn after_read(&mut self, event: NodeEvent) {
        let extra = if self.at < self.slow_reads.0 { self.slow_reads.1 } else { 0 };
        let wait_ms = self.rng.between(0, 3 + extra);
        self.node_event(wait_ms, event);
    }

    /// The writer goes on with the next group, if it can.
    pub(crate) fn write_on(&mut self) {
        if self.disk.begin_group() {
            let extra = if self.at < self.slow_disk.0 { self.slow_disk.1 } else { 0 };
            let wait_ms = self.rng.between(1, 6) + extra;
            self.node_event(wait_ms, NodeEvent::GroupDone);
        }
    }

    pub(super) fn node_happen(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::GroupDone => self.group_done(),
            NodeEvent::Answers(answers) => self.answers(answers),
            NodeEvent::Read(q) => self.read_done(q),
            NodeEvent::Scan(q, from) => self.scan(q, from),
            NodeEvent::Loaded(q, from, found, exhausted) => self.loaded(q, from, found, exhausted),
            NodeEvent::Timer(q, number) => self.timer_rang(q, number),
            NodeEvent::Resend(q) => self.resend(q),
            NodeEvent::HubLooks(of) => self.hub_looks(of),
            NodeEvent::ScheduleTimer(number) => self.schedules_rang(number),
            NodeEvent::StreamEnded(stream) => self.stream_ended(stream),
        }
    }

    /// Messages inside the server, until there are none.
    pub(super) fn deliver_local(&mut self) {
        while let Some(local) = self.node.local.pop_front() {
            match local {
                Local::Queue(q, op) => self.queue_op(q, op),
                Local::Session { session, queue, events } => self.session_told(session, queue, events),
                Local::Schedule { index, ok } => self.schedule_ended(index, ok),
            }
        }
    }

    fn group_done(&mut self) {
        let lies = self.planted == Some(Planted::LyingDisk) && self.rng.chance(20);
        let answers = self.disk.end_group(lies);
        for answer in &answers {
            if answer.fits {
                self.note_durable(answer.source, answer.ticket);
            }
        }
        let wait_ms = self.rng.pick(&[0, 0, 1, 5]);
        self.node_event(wait_ms, NodeEvent::Answers(answers));
        self.write_on();
    }

    fn note_durable(&mut self, source: Source, upto: u64) {
        if let Source::Queue(queue) = source {
            let after = self.node.shells[queue].batch_after(upto);
            self.emit(history::Event::Durable { queue, after, upto });
        }
    }

    fn answers(&mut self, answers: Vec<crate::disk::Answer>) {
        for q in 0..self.node.shells.len() {
            let mine: Vec<_> = answers
                .iter()
                .filter(|answer| answer.source == Source::Queue(q))
                .map(|answer| (answer.ticket, answer.fits))
                .collect();
            if !mine.is_empty() {
                self.store_answered(q, mine);
            }
        }
        for answer in answers {
            if let Source::Schedule(index) = answer.source {
                self.node.local.push_back(Local::Schedule { index, ok: answer.fits });
            }
        }
    }

    /// The server starts: it opens the store, rebuilds its queues, loads its schedules.
    pub(super) fn server_starts(&mut self) {
        if self.node.up {
            return;
        }
        self.node.up = true;
        self.clock.restart(self.at);
        let epoch = self.disk.open();
        let now = self.clock.now(self.at);
        let mut begun = Vec::new();
        for index in 0..self.setup.queues {
            let (name, no) = (queue_name(index), index as u32 + 1);
            let tuning = Tuning {
                epoch,
                seed: self.rng.next(),
                lease_ms: self.setup.lease_ms,
                resume_grace_ms: self.setup.grace_ms,
                window: if self.planted == Some(Planted::NoWindows) {
                    Window::default()
                } else {
                    self.setup.window
                },
                // Requests of a few jobs are what the producers send, so that chunks are as small.
                chunk: ChunkShape {
                    jobs_min: 2,
                    jobs_max: 4,
                    wait_ms: limits::CHUNK_WAIT_MS_MAX,
                    crowd_min: 2,
                },
                dispatch: self.setup.dispatch,
            };
            begun.push(match self.disk.get(&keys::queue_key(&name)) {
                None => Queue::create(name, no, tuning, now),
                Some(bytes) => {
                    let recovered = QueueRecord::from_bytes(&bytes)
                        .map_err(read::RecoverError::from)
                        .and_then(|record| read::recover(&self.disk, name, record, tuning, now));
                    match recovered {
                        Ok(begun) => begun,
                        Err(error) => {
                            return self.violated("recovery", format!("queue {index}: {error}"), None);
                        }
                    }
                }
            });
        }
        self.emit(history::Event::ServerUp { wall: now.wall });
        for (queue, effects) in begun {
            self.begin_shell(queue, effects);
        }
        self.begin_schedules(now);
        self.recount();
    }

    fn server_dies(&mut self, down_ms: u64, keep: u64) {
        if !self.node.up {
            return;
        }
        for answer in self.disk.crash(keep) {
            self.note_durable(answer.source, answer.ticket);
        }
        let process = self.node.process + 1;
        self.node = Node::down(process);
        self.emit(history::Event::ServerDied);
        let streams: Vec<u64> =
            self.net.streams.iter().filter(|(_, stream)| !stream.cut).map(|(number, _)| *number).collect();
        for stream in streams {
            self.cut(stream);
            let at = self.net.learns_at(self.at, stream);
            self.at_time(at, Event::Unplugged(stream));
        }
        self.later(down_ms, Event::ServerStarts);
    }

    /// Nothing arrives on this stream any more.
    pub(crate) fn cut(&mut self, stream: u64) {
        if let Some(open) = self.net.streams.get_mut(&stream)
            && !std::mem::replace(&mut open.cut, true)
        {
            // If the worker does not know yet, it will learn it.
            let at = self.net.learns_at(self.at, stream);
            self.at_time(at, Event::Unplugged(stream));
        }
    }

    /// The server will learn that a stream is gone.
    pub(crate) fn server_learns(&mut self, stream: u64) {
        if self.net.streams.get(&stream).is_some_and(|open| open.server == self.node.process) {
            let at = self.net.learns_at(self.at, stream);
            self.at_time(at, Event::Node(self.node.process, NodeEvent::StreamEnded(stream)));
        }
    }

    pub(super) fn arrives_at_server(&self, stream: u64) -> bool {
        let process = self.node.process;
        self.node.up && self.net.streams.get(&stream).is_some_and(|open| !open.cut && open.server == process)
    }

    pub(crate) fn send_to_server(&mut self, stream: u64, frame: ToServer) {
        if let Some(at) = self.net.send(self.at, stream, true) {
            self.at_time(at, Event::ToServer(stream, frame));
        }
    }

    pub(crate) fn send_to_worker(&mut self, stream: u64, frame: ToWorker) {
        if let Some(at) = self.net.send(self.at, stream, false) {
            self.at_time(at, Event::ToWorker(stream, frame));
        }
    }

    pub(crate) fn post_call(&mut self, client: usize, call: u64, body: Body, may_double: bool) {
        for at in self.net.post(self.at, client, may_double) {
            self.at_time(at, Event::CallIn { client, call, body: body.clone() });
        }
    }

    /// A call has arrived.
    pub(super) fn called(&mut self, client: usize, call: u64, body: Body) {
        if !self.node.up {
            return;
        }
        let then = Then::Call { client, call };
        let (q, op) = match body {
            Body::Enqueue { queue, jobs } => (queue, Op::Enqueue { jobs, alongside: Vec::new(), then }),
            Body::Act { queue, act, id } => (queue, Op::Job { act, id, then }),
            Body::Pause { paused: true, .. } if self.planted == Some(Planted::PauseInName) => {
                return self.way_back(0, then, Answer::Acted(Acted::Done));
            }
            Body::Pause { queue, paused } => (queue, Op::SetPaused { paused, then }),
            Body::Dead { queue, retry } => (queue, Op::Dead { retry, then }),
            Body::Schedule { index, pause } => {
                if !self.order_schedule(index, pause, then.clone()) {
                    self.way_back(0, then, Answer::Refused("busy"));
                }
                return;
            }
        };
        self.node.local.push_back(Local::Queue(q, op));
    }

    /// An answer of the server goes to whoever waits for it.
    pub(crate) fn way_back(&mut self, q: usize, then: Then, answer: Answer) {
        match (then, answer) {
            (Then::Call { client, call }, answer) => {
                for at in self.net.post(self.at, client, false) {
                    self.at_time(at, Event::CallOut { client, call, answer: answer.clone() });
                }
            }
            (Then::Report { session, request, outcomes }, Answer::Reported(results)) => {
                self.reported(session, request, q, &outcomes, results);
            }
            (Then::Resume { session }, Answer::Resumed(kept, lost)) => self.resumed(session, q, kept, lost),
            (Then::Schedule { index }, answer) => {
                let ok = matches!(answer, Answer::Enqueued(_));
                self.node.local.push_back(Local::Schedule { index, ok });
            }
            _ => {}
        }
    }

    /// A fault happens.
    pub(super) fn go_wrong(&mut self, index: usize) {
        let what = self.faults[index].what;
        self.stats.faults[what.kind()] += 1;
        self.emit(history::Event::Wrong { what });
        let at = self.at;
        match what {
            What::ServerCrash { down_ms, keep } => self.server_dies(down_ms, keep),
            What::ServerPause { ms } if self.node.up => {
                self.node.paused_since.get_or_insert(at);
                self.node.paused_until = self.node.paused_until.max(at + ms);
            }
            What::ServerPause { .. } => {}
            What::WorkerCrash { worker, down_ms } => self.worker_dies(worker, down_ms),
            What::WorkerPause { worker, ms } => self.workers[worker].paused_until = at + ms,
            What::WorkerSlow { worker, ms } => self.workers[worker].slow_until = at + ms,
            What::Disconnect { worker } => self.disconnect(worker),
            What::Partition { client, ms } => self.net.partition(client, at + ms),
            What::SlowNet { delay_ms, ms } => self.net.slow_down(delay_ms, at + ms),
            What::LossyNet { loss, twice, ms } => self.net.lose(loss, twice, at + ms),
            What::SlowDisk { delay_ms, ms } => self.slow_disk = (at + ms, delay_ms),
            What::SlowReads { delay_ms, ms } => self.slow_reads = (at + ms, delay_ms),
            What::DiskLow { ms } => self.disk_trouble(Room::Low, ms),
            What::DiskFull { ms } => self.disk_trouble(Room::None, ms),
            What::WallJump { ms } => self.clock.jump(ms),
        }
    }

    fn disk_trouble(&mut self, room: Room, ms: u64) {
        self.disk.set_room(room);
        self.later(ms, Event::RoomAgain);
    }

    fn disconnect(&mut self, worker: usize) {
        let open = self.net.streams.iter().rev().find(|(_, s)| s.of.worker == worker && !s.cut);
        if let Some(stream) = open.map(|(number, _)| *number) {
            self.cut(stream);
            self.server_learns(stream);
        }
    }
}
