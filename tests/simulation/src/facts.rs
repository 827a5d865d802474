//! What is true of every job, worked out from the history alone, by tickets: what the queue has decided, and how much of it is
//! durable. After a crash what was not durable never happened.
//!
//! This is the judges' own book. It is written from what the queue *answered*, never from what the queue holds.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::job::JobState;
use windlass_core::limits::{CHUNK_WAIT_MS_MAX, CRASHES_MAX};
use windlass_core::queue::Ticket;
use windlass_core::time::Timestamp;
use windlass_core::wire::{Token, Verdict};

use crate::history::{Act, Acted, Event, Key, Process, Wish};

/// Most that jitter adds to a wait in any policy of the producers, in percent.
const JITTER_PERCENT_MAX: u64 = 50;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not there: it never was, or was deleted.
    Absent,
    /// It waits, or runs under a lease.
    Live,
    /// Among the dead.
    Dead,
    /// Ended, and kept until then.
    Kept(JobState, Timestamp),
    /// Ended. The number among its queue's ends since the server began says whether it may still be remembered; `None`
    /// after a restart.
    Ended(JobState, Option<u64>),
}

/// A lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseFact {
    /// Whose.
    pub of: Process,
    /// Its proof.
    pub token: Token,
    /// Number of the attempt.
    pub attempt: u32,
    /// Whether somebody asked for the end of the job.
    pub cancel: bool,
    /// Found at a restart and not claimed since.
    pub recovered: bool,
}

/// What is true of a job at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// How often its id has begun anew.
    pub life: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Attempts used.
    pub attempts: u32,
    /// Workers lost with it.
    pub crashes: u32,
    /// Attempts that it may use.
    pub max_attempts: u32,
    /// It must not start before the wall clock shows this; 0 for a job whose time has come, or that has none.
    pub not_before: Timestamp,
    /// Its time has certainly come when the wall clock shows this: jitter may have added to the wait.
    pub due_by: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Its number among those that arrived ready, larger for later ones; `None` for one that waited for its time.
    pub arrival: Option<u64>,
    /// Who runs it.
    pub lease: Option<LeaseFact>,
    /// What was asked for.
    pub wish: Option<std::rc::Rc<Wish>>,
}

impl Fact {
    fn none() -> Fact {
        Fact {
            life: 0,
            phase: Phase::Absent,
            attempts: 0,
            crashes: 0,
            max_attempts: 0,
            not_before: Timestamp(0),
            due_by: Timestamp(0),
            expires_at: None,
            arrival: None,
            lease: None,
            wish: None,
        }
    }

    /// Whether its expiry has come while it waits, so that it may be gone without a word.
    #[must_use]
    pub fn may_be_expired(&self, wall: Timestamp) -> bool {
        self.phase == Phase::Live && self.lease.is_none() && self.expires_at.is_some_and(|at| at <= wall)
    }

    /// The priority asked for.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.wish.as_ref().map_or(0, |wish| wish.priority)
    }

    fn retention_ms(&self) -> u64 {
        self.wish.as_ref().map_or(0, |wish| wish.retention_ms)
    }
}

/// The facts of one job: the durable one, and those on their way.
#[derive(Debug, Clone)]
pub struct Book {
    /// What is durable.
    pub solid: Fact,
    /// What follows, by ticket.
    pending: Vec<(Ticket, Fact)>,
}

impl Book {
    /// What the queue has decided.
    #[must_use]
    pub fn latest(&self) -> &Fact {
        self.pending.last().map_or(&self.solid, |(_, fact)| fact)
    }

    /// Whether all of it is durable.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    fn latest_mut(&mut self) -> &mut Fact {
        self.pending.last_mut().map_or(&mut self.solid, |(_, fact)| fact)
    }

    fn put(&mut self, ticket: Ticket, fact: Fact) {
        match self.pending.last_mut() {
            Some((last, latest)) if *last == ticket => *latest = fact,
            _ => self.pending.push((ticket, fact)),
        }
    }

    /// A batch with the tickets after `after` up to `upto` is durable.
    fn settle(&mut self, after: Ticket, upto: Ticket) {
        let of_batch = |ticket: Ticket| ticket > after && ticket <= upto;
        if let Some(last) = self.pending.iter().rposition(|(ticket, _)| of_batch(*ticket)) {
            // What came before it and was refused for want of room is sent again, and is overwritten by then.
            self.solid = self.pending[last].1.clone();
            self.pending.drain(..=last);
        }
    }

    fn forget_what_was_not_durable(&mut self) {
        self.pending.clear();
        if let Phase::Ended(how, _) = self.solid.phase {
            self.solid.phase = Phase::Ended(how, None);
        }
        if let Some(lease) = &mut self.solid.lease {
            lease.recovered = true;
        }
    }
}

/// What is true of a queue.
#[derive(Debug, Clone, Default)]
pub struct QueueFacts {
    paused_solid: bool,
    paused_pending: Vec<(Ticket, bool)>,
    /// Jobs that ended in memory since the server began.
    pub ended: u64,
    /// The last ticket seen, and the last durable one.
    pub tickets: (Ticket, Ticket),
    /// The wall time that the queue was shown last.
    shown: Timestamp,
    /// Most leases that it has had at once.
    pub leases_max: usize,
    /// The last ticket that the queue knows to be durable.
    pub told: Ticket,
}

impl QueueFacts {
    /// Whether the queue has decided to hand nothing out.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused_pending.last().map_or(self.paused_solid, |(_, paused)| *paused)
    }
}

/// The book.
#[derive(Debug)]
pub struct Facts {
    /// Of every job.
    pub jobs: BTreeMap<Key, Book>,
    /// Of every queue.
    pub queues: Vec<QueueFacts>,
    /// The latest wall time that any queue was shown; what ran out by then may be gone, whatever the clock shows now.
    pub latest_wall: Timestamp,
    /// Jobs whose time had come by the clock of this process before that was set back.
    pub came_due: BTreeSet<Key>,
    arrivals: u64,
    none: Book,
}

impl Facts {
    /// Nothing has happened.
    #[must_use]
    pub fn new(queues: usize) -> Facts {
        Facts {
            jobs: BTreeMap::new(),
            queues: vec![QueueFacts::default(); queues],
            latest_wall: Timestamp(0),
            came_due: BTreeSet::new(),
            arrivals: 0,
            none: Book { solid: Fact::none(), pending: Vec::new() },
        }
    }

    /// What is known of a job.
    #[must_use]
    pub fn job(&self, key: &Key) -> &Book {
        self.jobs.get(key).unwrap_or(&self.none)
    }

    /// Takes an event into the book.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Accepted { key, ticket, wall, wish, duplicate } => {
                self.saw(key.0, *ticket, *wall);
                if !duplicate {
                    self.begin(*key, *ticket, *wall, wish);
                }
            }
            Event::HandedOut { key, ticket, wall, to, token, attempt } => {
                self.saw(key.0, *ticket, *wall);
                let (of, token, attempt) = (*to, *token, *attempt);
                self.change(*key, *ticket, |fact| {
                    // Its time has come; a clock that is set back afterwards does not undo that.
                    fact.not_before = Timestamp(0);
                    fact.lease = Some(LeaseFact { of, token, attempt, cancel: false, recovered: false });
                });
                let of_queue = self.jobs.iter().filter(|(of, _)| of.0 == key.0);
                let leases = of_queue.filter(|(_, book)| book.latest().lease.is_some()).count();
                let queue = &mut self.queues[key.0];
                queue.leases_max = queue.leases_max.max(leases);
            }
            Event::Judged { key, ticket, wall, token, verdict, recorded } => {
                self.saw(key.0, *ticket, *wall);
                if *recorded && self.job(key).latest().lease.is_some_and(|lease| lease.token == *token) {
                    self.conclude(*key, *ticket, *wall, verdict);
                }
            }
            Event::LeaseEnded { key, ticket, wall, .. } => {
                self.saw(key.0, *ticket, *wall);
                self.lose(*key, *ticket, *wall);
            }
            Event::Resumed { queue, ticket, wall, of, kept } => {
                self.saw(*queue, *ticket, *wall);
                self.resume((*queue, *ticket, *wall), *of, kept);
            }
            Event::ActedOn { key, ticket, wall, act, acted, .. } => {
                self.saw(key.0, *ticket, *wall);
                self.act(*key, *ticket, *wall, *act, *acted);
            }
            Event::DeadActed { queue, ticket, wall, retry, page, .. } => {
                self.saw(*queue, *ticket, *wall);
                for (id, attempts) in page {
                    let key = (*queue, *id);
                    if self.is_dead_with(&key, *attempts) {
                        if *retry { self.revive(key, *ticket, *wall) } else { self.remove(key, *ticket) }
                    }
                }
            }
            Event::Paused { queue, ticket, paused, .. } => {
                self.queues[*queue].paused_pending.push((*ticket, *paused));
            }
            Event::ToldDurable { queue, upto } => self.queues[*queue].told = *upto,
            Event::Durable { queue, after, upto } => self.settle(*queue, *after, *upto),
            // Rebuilding a queue shows it the time, too.
            Event::ServerUp { wall } => (0..self.queues.len()).for_each(|queue| self.shown(queue, *wall)),
            Event::ServerDied => {
                self.came_due.clear();
                self.jobs.values_mut().for_each(Book::forget_what_was_not_durable);
                for queue in &mut self.queues {
                    queue.paused_pending.clear();
                    queue.ended = 0;
                    queue.tickets = (0, 0);
                    queue.told = 0;
                    queue.shown = Timestamp(0);
                }
            }
            _ => {}
        }
    }

    /// A queue is about to be shown this wall time. What was due by the time before stays due when the clock was set back.
    pub fn shown(&mut self, queue: usize, wall: Timestamp) {
        self.latest_wall = self.latest_wall.max(wall);
        let before = std::mem::replace(&mut self.queues[queue].shown, wall);
        if wall >= before {
            return;
        }
        for (key, book) in self.jobs.iter().filter(|(key, _)| key.0 == queue) {
            if book.latest().not_before <= before {
                self.came_due.insert(*key);
            }
        }
    }

    /// Whether a job is dead, and it is the death after so many attempts.
    #[must_use]
    pub fn is_dead_with(&self, key: &Key, attempts: u32) -> bool {
        let fact = self.job(key).latest();
        fact.phase == Phase::Dead && fact.attempts == attempts
    }

    /// A job whose expiry had come turns out to be gone, or kept as expired.
    pub fn found_expired(&mut self, key: &Key, kept: Option<Timestamp>) {
        if let Some(book) = self.jobs.get_mut(key) {
            // What the queue has decided since is on its way.
            book.solid.phase = match kept {
                Some(until) => Phase::Kept(JobState::Expired, until),
                None => Phase::Ended(JobState::Expired, None),
            };
        }
    }

    fn saw(&mut self, queue: usize, ticket: Ticket, wall: Timestamp) {
        let queue = &mut self.queues[queue];
        queue.tickets.0 = queue.tickets.0.max(ticket);
        self.latest_wall = self.latest_wall.max(wall);
    }

    fn settle(&mut self, queue: usize, after: Ticket, upto: Ticket) {
        let facts = &mut self.queues[queue];
        facts.tickets.1 = facts.tickets.1.max(upto);
        if let Some(last) =
            facts.paused_pending.iter().rposition(|(ticket, _)| *ticket <= upto && *ticket > after)
        {
            facts.paused_solid = facts.paused_pending[last].1;
            facts.paused_pending.drain(..=last);
        }
        let of_queue =
            (queue, windlass_core::id::JobId([0; 16]))..=(queue, windlass_core::id::JobId([0xff; 16]));
        for (_, book) in self.jobs.range_mut(of_queue) {
            if !book.pending.is_empty() {
                book.settle(after, upto);
            }
        }
    }

    fn change(&mut self, key: Key, ticket: Ticket, change: impl FnOnce(&mut Fact)) {
        let durable = self.queues[key.0].tickets.1;
        let book = self.jobs.entry(key).or_insert_with(|| Book { solid: Fact::none(), pending: Vec::new() });
        let mut fact = book.latest().clone();
        change(&mut fact);
        if book.is_settled() && ticket <= durable {
            // Nothing was written: it is true in memory alone.
            book.solid = fact;
        } else {
            book.put(ticket, fact);
        }
    }

    fn begin(&mut self, key: Key, ticket: Ticket, wall: Timestamp, wish: &Wish) {
        self.came_due.remove(&key);
        let run_at = wish.at.unwrap_or(wall.plus_ms(wish.after_ms)).max(wall);
        let arrival = (run_at <= wall).then(|| self.next_arrival());
        let wish = std::rc::Rc::new(wish.clone());
        self.change(key, ticket, |fact| {
            *fact = Fact {
                life: fact.life + 1,
                phase: Phase::Live,
                max_attempts: wish.max_attempts,
                not_before: if arrival.is_some() { Timestamp(0) } else { run_at },
                // It may be put off to share a chunk.
                due_by: run_at.plus_ms(CHUNK_WAIT_MS_MAX),
                expires_at: wish.expires_at,
                arrival,
                wish: Some(wish),
                ..Fact::none()
            };
        });
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn conclude(&mut self, key: Key, ticket: Ticket, wall: Timestamp, verdict: &Verdict) {
        let Some(lease) = self.job(&key).latest().lease else { return };
        self.came_due.remove(&key);
        if !matches!(verdict, Verdict::Done(_)) && lease.cancel {
            return self.finish(key, ticket, wall, JobState::Cancelled);
        }
        match verdict {
            Verdict::Done(_) => {
                self.change(key, ticket, |fact| fact.attempts = lease.attempt);
                self.finish(key, ticket, wall, JobState::Succeeded);
            }
            Verdict::Retry { retry_in_ms, .. } => self.change(key, ticket, |fact| {
                fact.lease = None;
                fact.attempts = lease.attempt;
                if fact.attempts >= fact.max_attempts {
                    fact.phase = Phase::Dead;
                    return;
                }
                // Jitter only adds.
                let least = fact.wish.as_ref().map_or(0, |wish| least_wait(&wish.backoff, fact.attempts));
                fact.not_before = wall.plus_ms(retry_in_ms.unwrap_or(least));
                fact.due_by = wall.plus_ms(retry_in_ms.unwrap_or(least * (100 + JITTER_PERCENT_MAX) / 100));
                fact.arrival = None;
            }),
            Verdict::Snooze { ms } => self.change(key, ticket, |fact| {
                fact.lease = None;
                fact.not_before = wall.plus_ms(*ms);
                fact.due_by = fact.not_before;
                fact.arrival = None;
            }),
            Verdict::Dead { .. } => self.change(key, ticket, |fact| {
                fact.lease = None;
                fact.attempts = lease.attempt;
                fact.phase = Phase::Dead;
            }),
            Verdict::Cancelled { .. } => self.finish(key, ticket, wall, JobState::Cancelled),
            Verdict::Released => self.change(key, ticket, |fact| fact.lease = None),
        }
    }

    fn lose(&mut self, key: Key, ticket: Ticket, wall: Timestamp) {
        let Some(lease) = self.job(&key).latest().lease else { return };
        self.change(key, ticket, |fact| {
            fact.lease = None;
            fact.attempts = lease.attempt;
            fact.crashes += u32::from(!lease.recovered);
        });
        if lease.cancel {
            return self.finish(key, ticket, wall, JobState::Cancelled);
        }
        self.change(key, ticket, |fact| {
            if fact.crashes >= CRASHES_MAX || fact.attempts >= fact.max_attempts {
                fact.phase = Phase::Dead;
            }
        });
    }

    /// What the worker does not name it never received: those leases are given back, and no attempt is used.
    fn resume(
        &mut self,
        (queue, ticket, wall): (usize, Ticket, Timestamp),
        of: Process,
        kept: &[(windlass_core::id::JobId, Token)],
    ) {
        let mine: Vec<_> = self
            .jobs
            .iter()
            .filter(|(key, book)| key.0 == queue && book.latest().lease.is_some_and(|lease| lease.of == of))
            .map(|(key, _)| *key)
            .collect();
        for key in mine {
            if kept.iter().any(|(id, _)| *id == key.1) {
                if let Some(lease) = self.jobs.get_mut(&key).and_then(|book| book.latest_mut().lease.as_mut())
                {
                    lease.recovered = false;
                }
            } else if self.job(&key).latest().lease.is_some_and(|lease| lease.cancel) {
                self.finish(key, ticket, wall, JobState::Cancelled);
            } else {
                self.change(key, ticket, |fact| fact.lease = None);
            }
        }
    }

    fn act(&mut self, key: Key, ticket: Ticket, wall: Timestamp, act: Act, acted: Acted) {
        match (act, acted) {
            (Act::Cancel, Acted::Job(JobState::Running)) => self.change(key, ticket, |fact| {
                if let Some(lease) = &mut fact.lease {
                    lease.cancel = true;
                }
            }),
            (Act::Cancel, Acted::Job(_)) => self.finish(key, ticket, wall, JobState::Cancelled),
            (Act::Retry, Acted::Job(_)) => self.revive(key, ticket, wall),
            (Act::Delete, Acted::Done) => self.remove(key, ticket),
            _ => {}
        }
    }

    fn finish(&mut self, key: Key, ticket: Ticket, wall: Timestamp, how: JobState) {
        self.queues[key.0].ended += 1;
        let number = self.queues[key.0].ended;
        self.change(key, ticket, |fact| {
            fact.lease = None;
            fact.phase = match fact.retention_ms() {
                0 => Phase::Ended(how, Some(number)),
                ms => Phase::Kept(how, wall.plus_ms(ms)),
            };
        });
    }

    fn revive(&mut self, key: Key, ticket: Ticket, wall: Timestamp) {
        let arrival = Some(self.next_arrival());
        self.change(key, ticket, |fact| {
            fact.phase = Phase::Live;
            fact.not_before = Timestamp(0);
            fact.due_by = wall;
            fact.crashes = 0;
            fact.arrival = arrival;
            if fact.attempts >= fact.max_attempts {
                fact.max_attempts = fact.attempts + 1;
            }
            if fact.expires_at.is_some_and(|at| at <= wall) {
                fact.expires_at = None;
            }
        });
    }

    fn remove(&mut self, key: Key, ticket: Ticket) {
        self.change(key, ticket, |fact| {
            fact.phase = Phase::Absent;
            fact.lease = None;
        });
    }
}

/// The shortest wait that a policy allows after an attempt, worked out apart from the core.
fn least_wait(backoff: &windlass_core::retry::Backoff, attempt: u32) -> u64 {
    use windlass_core::retry::Backoff;
    match backoff {
        Backoff::Fixed { delay_ms, .. } => *delay_ms,
        Backoff::Exponential { base_ms, factor_tenths, max_ms, .. } => {
            let grown =
                (1..attempt).fold(*base_ms, |wait, _| wait.saturating_mul(u64::from(*factor_tenths)) / 10);
            grown.min(*max_ms)
        }
        Backoff::List { delays_ms, .. } => {
            let index = (attempt.max(1) as usize - 1).min(delays_ms.len().saturating_sub(1));
            delays_ms.get(index).copied().unwrap_or(0)
        }
    }
}
