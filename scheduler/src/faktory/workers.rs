//! Worker processes by their wid: who is connected, who beats, who is dead. Pure: time is an argument.
//!
//! A process that beats, or keeps its connections, is expected to stay. When all its connections are closed and none came back
//! within one interval of its beats and a little more, it is dead, and its jobs go to others at once; so do those of a process that
//! has beaten and then is silent for [`SILENCE_MS_MAX`]. A process that opens a connection per command and never beats, as some clients
//! do, keeps its jobs for as long as they were reserved, connected or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::time::{Mono, Timestamp};

use super::WORKERS_MAX;

/// Silence after which a worker process is dropped and its connections are closed, in milliseconds: four of the usual beats.
pub(super) const SILENCE_MS_MAX: u64 = 60_000;
/// Interval of beats of which nothing is known yet, in milliseconds: what most clients do.
const BEAT_MS_DEFAULT: u64 = 15_000;
/// Shortest and longest interval that is believed.
const BEAT_MS: std::ops::RangeInclusive<u64> = 5_000..=60_000;
/// Added to the interval, in milliseconds: a beat that has to connect first is late.
const BEAT_LATE_MS: u64 = 5_000;
/// What marks a lease of this door, so that it is known again after a restart.
const MARK: [u8; 5] = [0xb6, 0xfa, 0xc7, 0x09, 0xe1];

/// A worker process: the hash of its wid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key([u8; 6]);

impl Key {
    /// Of a wid.
    pub(super) fn of(wid: &str) -> Key {
        Key::hash(b"windlass faktory wid ", wid.as_bytes())
    }

    /// Of a connection that gave none.
    pub(super) fn nameless(connection: u32) -> Key {
        Key::hash(b"windlass faktory connection ", &connection.to_be_bytes())
    }

    fn hash(what: &[u8], name: &[u8]) -> Key {
        let mut key = [0; 6];
        key.copy_from_slice(&Sha256::new().chain_update(what).chain_update(name).finalize()[..6]);
        Key(key)
    }

    /// The holder of leases for one connection of this process. Each has its own, since queues answer each on its own. Whether the
    /// process gave a name is part of it, because after a restart nothing else would say.
    pub(super) fn holder(self, named: bool, connection: u32) -> WorkerId {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&self.0);
        id[6..11].copy_from_slice(&MARK);
        id[11] = u8::from(named);
        id[12..].copy_from_slice(&connection.to_be_bytes());
        WorkerId(id)
    }

    /// The process behind a holder, and whether it gave a name; `None` for a holder of another door.
    pub(super) fn of_holder(holder: &WorkerId) -> Option<(Key, bool)> {
        let mut key = [0; 6];
        key.copy_from_slice(&holder.0[..6]);
        (holder.0[6..11] == MARK).then_some((Key(key), holder.0[11] == 1))
    }

    /// The id under which the process is listed.
    pub(super) fn listed(self) -> WorkerId {
        self.holder(false, 0)
    }
}

/// How far a worker is from its end; never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum State {
    /// It takes jobs.
    #[default]
    Running,
    /// It takes no more.
    Quiet,
    /// It ends.
    Terminate,
}

impl State {
    /// The name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Running => "",
            State::Quiet => "quiet",
            State::Terminate => "terminate",
        }
    }
}

/// What a process has said of itself, and when.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Empty for a process that is only known by what it held before a restart.
    pub(super) wid: String,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) labels: Vec<String>,
    pub(super) connected_at: Timestamp,
}

/// What is known of a process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) said: Said,
    pub(super) state: State,
    pub(super) rss_kb: u64,
    pub(super) queues: BTreeSet<QueueName>,
    connections: HashMap<u32, CancellationToken>,
    /// Its connections carry more than one command each.
    pub(super) steady: bool,
    last_beat: Option<Mono>,
    beat_ms: Option<u64>,
    seen: Mono,
    /// Since when it has no connection.
    away_since: Option<Mono>,
}

impl Process {
    pub(super) fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Whether it is expected to be connected while it has jobs.
    fn stays(&self) -> bool {
        self.last_beat.is_some() || self.steady
    }

    pub(super) fn silent_ms(&self, now: Mono) -> u64 {
        now.0.saturating_sub(self.seen.0)
    }

    /// Why it is dead, if it is.
    fn verdict(&self, now: Mono) -> Option<String> {
        if self.silent_ms(now) >= SILENCE_MS_MAX {
            return Some(format!("its worker sent no BEAT for {} s", self.silent_ms(now) / 1_000));
        }
        let away_ms = now.0.saturating_sub(self.away_since?.0);
        let patience = self.beat_ms.unwrap_or(BEAT_MS_DEFAULT) + BEAT_LATE_MS;
        (away_ms >= patience).then(|| {
            format!("its worker closed its last connection and was not heard of for {} s", away_ms / 1_000)
        })
    }
}

/// A process that is no more.
pub(super) struct Dead {
    pub(super) key: Key,
    pub(super) wid: String,
    pub(super) why: String,
    /// Whether its jobs go to others now, rather than when their reservations end.
    pub(super) reassign: bool,
}

/// All worker processes.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: BTreeMap<Key, Process>,
}

impl Workers {
    pub(super) fn get(&self, key: Key) -> Option<&Process> {
        self.all.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Process> {
        self.all.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Process)> {
        self.all.iter().map(|(key, process)| (*key, process))
    }

    /// Processes with a connection.
    pub(super) fn connected(&self) -> usize {
        self.all.values().filter(|process| process.is_connected()).count()
    }

    /// A connection of a process begins. `false` when there are too many processes to remember this one.
    pub(super) fn connect(
        &mut self,
        said: Said,
        connection: u32,
        close: CancellationToken,
        now: Mono,
    ) -> bool {
        let key = Key::of(&said.wid);
        if self.all.len() >= WORKERS_MAX && !self.all.contains_key(&key) {
            return false;
        }
        let process = self.all.entry(key).or_default();
        if !process.is_connected() {
            process.said = said;
            process.state = State::Running;
        }
        process.away_since = None;
        process.seen = now;
        process.connections.insert(connection, close);
        true
    }

    /// A connection of a process has ended. `true` when that was the last one of a process of which nothing is expected any
    /// more, so that it is forgotten.
    pub(super) fn disconnect(&mut self, key: Key, connection: u32, holds: bool, now: Mono) -> bool {
        let Some(process) = self.all.get_mut(&key) else { return false };
        process.connections.remove(&connection);
        if process.is_connected() {
            return false;
        }
        if process.stays() && holds {
            process.away_since.get_or_insert(now);
            return false;
        }
        self.all.remove(&key);
        true
    }

    /// A named process that held jobs before this server started has the longest interval of beats to be heard of again.
    pub(super) fn expect(&mut self, key: Key, now: Mono) {
        let longest = *BEAT_MS.end();
        let process = || Process {
            steady: true,
            beat_ms: Some(longest - BEAT_LATE_MS),
            seen: now,
            away_since: Some(now),
            ..Process::default()
        };
        self.all.entry(key).or_insert_with(process);
    }

    /// A beat. Answers the state to tell, or `None` for an unknown process.
    pub(super) fn beat(
        &mut self,
        key: Key,
        state: Option<&str>,
        rss_kb: Option<i64>,
        now: Mono,
    ) -> Option<State> {
        let process = self.all.get_mut(&key).filter(|process| !process.said.wid.is_empty())?;
        if let Some(last) = process.last_beat {
            let gap = now.0.saturating_sub(last.0);
            // Of two beats in one moment, by a test or a person, nothing follows.
            process.beat_ms = Some(gap.clamp(*BEAT_MS.start(), *BEAT_MS.end()));
        }
        process.last_beat = Some(now);
        process.seen = now;
        if process.away_since.is_some() {
            process.away_since = Some(now);
        }
        let told = match state {
            Some("quiet") => State::Quiet,
            Some("terminate") => State::Terminate,
            _ => State::Running,
        };
        process.state = process.state.max(told);
        if let Some(kb) = rss_kb {
            process.rss_kb = u64::try_from(kb).unwrap_or(0);
        }
        Some(process.state)
    }

    /// Takes the processes out that are dead, and closes their connections.
    pub(super) fn take_dead(&mut self, now: Mono) -> Vec<Dead> {
        let dead: Vec<_> =
            self.all.iter().filter_map(|(key, process)| Some((*key, process.verdict(now)?))).collect();
        let take = |(key, why): (Key, String)| {
            let process = self.all.remove(&key)?;
            process.connections.values().for_each(CancellationToken::cancel);
            // One that stands by its connections and has never beaten may be at work for all that is known.
            let reassign = process.last_beat.is_some() || process.away_since.is_some();
            Some(Dead { key, wid: process.said.wid, why, reassign })
        };
        dead.into_iter().filter_map(take).collect()
    }
}

#[cfg(test)]
#[path = "workers_test.rs"]
mod tests;
