//! What leaves a queue: told to the judges when it is decided, released to whom it is for when it may leave.

use windlass_core::id::{JobId, RequestId};
use windlass_core::queue::{Effects, Out, Release, Reply, Ticket};
use windlass_core::wire::{ReportResult, Token};

use super::process_of;
use super::shell::{Waiting, WorkerEvent};
use crate::history::{Act, Acted, Event, Process};
use crate::world::{Answer, NodeEvent, Planted, World};

/// What a command was about, for the history.
pub(super) enum Said {
    Enqueue(Vec<crate::history::Wish>),
    Report(Vec<(JobId, Token, windlass_core::wire::Verdict)>),
    Resume(Process),
    Lost(Process),
    Job(u64, Act, JobId),
    Dead(bool, Vec<(JobId, u32)>),
    Paused(u64, bool),
    Else,
}

impl World {
    pub(super) fn carry_out(&mut self, q: usize, said: Said, own: Option<RequestId>, effects: Effects) {
        let Effects { ticket, writes, settles, outs } = effects;
        let shell = &mut self.node.shells[q];
        let ticket = match ticket {
            Some(ticket) => {
                shell.push(ticket, writes, settles);
                ticket
            }
            None => shell.queue.tickets().0,
        };
        for (_, out) in &outs {
            self.note_out(q, &said, own, ticket, out);
        }
        for (release, out) in outs {
            match release {
                Release::Durable(ticket)
                    if ticket > self.node.shells[q].durable
                        && self.planted != Some(Planted::AckBeforeSync) =>
                {
                    let session = self.node.shells[q].session_for(&out);
                    self.node.shells[q].held.push_back((ticket, out, session));
                }
                _ => self.release(q, out),
            }
        }
    }

    /// What the judges may know of an out, at the moment the queue decided it.
    fn note_out(&mut self, q: usize, said: &Said, own: Option<RequestId>, ticket: Ticket, out: &Out) {
        let wall = self.clock.now(self.at).wall;
        match (out, said) {
            (Out::Deliver { worker, jobs, .. }, _) => {
                for (job, token, attempt) in jobs {
                    let (key, to) = ((q, job.id), process_of(*worker));
                    self.emit(Event::HandedOut { key, ticket, wall, to, token: *token, attempt: *attempt });
                }
            }
            (Out::LeaseEnded { worker, id, token }, said) => {
                let of = process_of(*worker);
                let told = matches!(said, Said::Lost(lost) if *lost == of);
                self.emit(Event::LeaseEnded { key: (q, *id), ticket, wall, of, token: *token, told });
            }
            (Out::Load(from), _) => self.emit(Event::Asks { queue: q, from: *from }),
            (Out::Fault(text), _) => self.emit(Event::Fault { queue: q, text: text.clone() }),
            (Out::Reply(request, reply), said) if own == Some(*request) => match (reply, said) {
                (Reply::Enqueued(answers), Said::Enqueue(wishes)) => {
                    for (answer, wish) in answers.iter().zip(wishes) {
                        let (key, duplicate, wish) = ((q, answer.id), answer.duplicate, wish.clone());
                        self.emit(Event::Accepted { key, ticket, wall, wish, duplicate });
                    }
                }
                (Reply::Reported(results), Said::Report(outcomes)) => {
                    for (result, (id, token, verdict)) in results.iter().zip(outcomes) {
                        let recorded = *result == ReportResult::Recorded;
                        let (key, token, verdict) = ((q, *id), *token, verdict.clone());
                        self.emit(Event::Judged { key, ticket, wall, token, verdict, recorded });
                    }
                }
                (Reply::Resumed { kept, .. }, Said::Resume(of)) => {
                    self.emit(Event::Resumed { queue: q, ticket, wall, of: *of, kept: kept.clone() });
                }
                (Reply::Job(_, state), Said::Job(call, act, id)) => {
                    let (call, key, acted) = (*call, (q, *id), Acted::Job(*state));
                    self.emit(Event::ActedOn { call, key, ticket, wall, act: *act, acted });
                }
                (Reply::Done(_), Said::Job(call, act, id)) => {
                    let (call, key) = (*call, (q, *id));
                    self.emit(Event::ActedOn { call, key, ticket, wall, act: *act, acted: Acted::Done });
                }
                (Reply::Done(count), Said::Dead(retry, page)) => {
                    let (retry, page, count) = (*retry, page.clone(), *count);
                    self.emit(Event::DeadActed { queue: q, ticket, wall, retry, page, count });
                }
                (Reply::Done(_), Said::Paused(call, paused)) => {
                    self.emit(Event::Paused { call: *call, queue: q, ticket, paused: *paused });
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// As the actor: void for a later session of the worker, and without jobs whose lease has ended meanwhile.
    pub(super) fn release_held(&mut self, q: usize, mut out: Out, session: Option<u64>) {
        let shell = &self.node.shells[q];
        if out.worker().is_some() && shell.session_for(&out) != session {
            return;
        }
        if let Out::Deliver { jobs, .. } = &mut out {
            jobs.retain(|(job, token, _)| shell.queue.is_leased(&job.id, *token));
        }
        self.release(q, out);
    }

    pub(super) fn release(&mut self, q: usize, out: Out) {
        let shell = &mut self.node.shells[q];
        match out {
            Out::Reply(request, reply) => {
                if self.planted == Some(Planted::AnswerTwice) {
                    self.reply(q, request, reply.clone());
                }
                self.reply(q, request, reply);
            }
            Out::Deliver { worker, jobs, drained } => {
                shell.tell(process_of(worker), WorkerEvent::Deliver { jobs, drained });
            }
            Out::Notice { worker } => shell.tell(process_of(worker), WorkerEvent::Notice),
            Out::CancelRun { worker, id, token } => {
                shell.tell(process_of(worker), WorkerEvent::CancelRun { id, token });
            }
            Out::LeaseEnded { worker, id, token } => {
                shell.tell(process_of(worker), WorkerEvent::LeaseEnded { id, token });
            }
            Out::Load(from) => {
                self.stats.loads += 1;
                shell.loads += 1;
                self.after_read(NodeEvent::Scan(q, from));
            }
            Out::Fault(_) => {}
        }
    }

    fn reply(&mut self, q: usize, request: RequestId, reply: Reply) {
        let Some((ticket, waiting)) = self.node.shells[q].waiting.remove(&request) else {
            return self.emit(Event::StrayReply { queue: q, request: request.0 });
        };
        self.emit(Event::Confirmed { queue: q, ticket });
        match (waiting, reply) {
            (Waiting::Bulk(mut bulk), Reply::Done(count)) => {
                bulk.count += count;
                self.bulk_went_on(q, bulk);
            }
            (Waiting::Bulk(bulk), _) => self.way_back(q, bulk.then, Answer::Refused("a wrong answer")),
            (Waiting::Then(then), reply) => {
                let answer = match reply {
                    Reply::Enqueued(answers) => {
                        Answer::Enqueued(answers.iter().map(|answer| (answer.id, answer.duplicate)).collect())
                    }
                    Reply::Reported(results) => {
                        Answer::Reported(results.iter().map(|r| *r == ReportResult::Recorded).collect())
                    }
                    Reply::Resumed { kept, lost } => Answer::Resumed(kept, lost),
                    Reply::Job(_, state) => Answer::Acted(Acted::Job(state)),
                    Reply::Done(_) => Answer::Acted(Acted::Done),
                    Reply::Refused(_) => Answer::Refused("by the queue"),
                };
                self.way_back(q, then, answer);
            }
        }
    }
}
