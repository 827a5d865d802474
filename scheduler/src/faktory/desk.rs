//! What all connections of the door share: reservations, worker processes, figures.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::api::{WorkerJob, WorkerView};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::time::{Now, Timestamp};

use super::RESERVATIONS_MAX;
use super::reservations::{Reservation, Reservations};
use super::workers::{Key, Process, State as WorkerState, Workers};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::door::Places;
use crate::queue::Registry;

/// Running jobs that are listed of one worker.
const RUNNING_LISTED_MAX: usize = 100;

/// What the desk works with.
#[derive(Clone)]
pub struct DeskParts {
    /// The queues.
    pub registry: Registry,
    /// The node's clock.
    pub clock: Clock,
    /// Where salts and the spread of retries come from.
    pub chance: Chance,
    /// How long a lease is good without a sign of life, in milliseconds.
    pub lease_ms: u64,
    /// Most connections.
    pub connections_max: u32,
}

/// A cheap handle of what the connections share; usable from any thread.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    parts: DeskParts,
    started_at: Timestamp,
    places: Arc<Places>,
    commands: AtomicU64,
    state: Mutex<State>,
}

/// What changes together.
#[derive(Default)]
pub(super) struct State {
    pub(super) reservations: Reservations,
    pub(super) workers: Workers,
    /// Queues that were removed, or only asked for, and are not listed until they have a job.
    pub(super) hidden: BTreeSet<QueueName>,
    /// Jobs that failed and were not to be retried, which no queue counts as failed.
    pub(super) discarded: u64,
    /// Processed and failed jobs at the last `FLUSH`.
    pub(super) flushed: (u64, u64),
}

impl Desk {
    /// A desk without anybody at it.
    #[must_use]
    pub fn new(parts: DeskParts) -> Desk {
        let started_at = parts.clock.now().wall;
        let places = Arc::new(Places::new(parts.connections_max));
        Desk {
            inner: Arc::new(Inner {
                parts,
                started_at,
                places,
                commands: AtomicU64::new(0),
                state: Mutex::default(),
            }),
        }
    }

    pub(super) fn parts(&self) -> &DeskParts {
        &self.inner.parts
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.inner.parts.registry
    }

    pub(super) fn now(&self) -> Now {
        self.inner.parts.clock.now()
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    /// Open connections of this door.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.inner.places.taken()
    }

    /// Bounds of the connections.
    pub(super) fn places(&self) -> Arc<Places> {
        Arc::clone(&self.inner.places)
    }

    pub(super) fn count_command(&self) -> u64 {
        self.inner.commands.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn commands(&self) -> u64 {
        self.inner.commands.load(Ordering::Relaxed)
    }

    /// Held for a few map operations and never across a wait.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many worker processes are connected.
    #[must_use]
    pub fn workers_connected(&self) -> usize {
        self.state().workers.connected()
    }

    /// The worker processes with what they run, for lists.
    #[must_use]
    pub fn list_workers(&self) -> Vec<WorkerView> {
        let now = self.now();
        let state = self.state();
        let mut running: HashMap<Key, Vec<WorkerJob>> = HashMap::new();
        for held in state.reservations.iter() {
            running.entry(held.worker).or_default().push(WorkerJob {
                queue: held.queue.name().clone(),
                id: held.id,
                kind: held.kind.clone(),
                attempt: held.attempt,
                started_at: held.started_at,
            });
        }
        let known = state.workers.iter().filter(|(_, process)| !process.said.wid.is_empty());
        known
            .map(|(key, process)| view(key, process, running.remove(&key).unwrap_or_default(), now))
            .collect()
    }

    /// How many connected worker processes take jobs from each queue.
    #[must_use]
    pub fn subscribers(&self) -> HashMap<QueueName, u32> {
        let mut counts = HashMap::new();
        for (_, process) in self.state().workers.iter().filter(|(_, process)| process.is_connected()) {
            for queue in &process.queues {
                *counts.entry(queue.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Names of lease holders of this door, as far as their processes are known.
    #[must_use]
    pub fn names(&self, ids: &[WorkerId]) -> HashMap<WorkerId, String> {
        let state = self.state();
        let name = |id: &WorkerId| {
            let (key, _) = Key::of_holder(id)?;
            let known = state.workers.get(key).map(name_of).filter(|name| !name.is_empty());
            Some((*id, known.unwrap_or_else(|| "Faktory client".to_owned())))
        };
        ids.iter().filter_map(name).collect()
    }
}

impl State {
    pub(super) fn has_room(&self) -> bool {
        self.reservations.len() < RESERVATIONS_MAX
    }

    /// Puts a reservation back that could not be settled.
    pub(super) fn put_back(&mut self, reservation: Reservation) {
        self.reservations.add(reservation);
    }
}

fn name_of(process: &Process) -> String {
    process.said.wid.clone()
}

fn view(key: Key, process: &Process, mut running: Vec<WorkerJob>, now: Now) -> WorkerView {
    let running_count = u32::try_from(running.len()).unwrap_or(u32::MAX);
    running.truncate(RUNNING_LISTED_MAX);
    let status = match process.state {
        _ if !process.is_connected() => "away",
        WorkerState::Running => "connected",
        WorkerState::Quiet => "quiet",
        WorkerState::Terminate => "terminate",
    };
    let labels = process.said.labels.join(", ");
    WorkerView {
        id: key.listed(),
        name: name_of(process),
        host: process.said.host.clone(),
        pid: process.said.pid,
        client: if labels.is_empty() { "Faktory".to_owned() } else { format!("Faktory ({labels})") },
        queues: process.queues.iter().map(|queue| (queue.clone(), 1)).collect(),
        strict: true,
        kinds: Vec::new(),
        free_slots: 0,
        running,
        running_count,
        connected_at: process.said.connected_at,
        heartbeat_age_ms: process.silent_ms(now.mono),
        status: status.to_owned(),
        gossip: "unknown".to_owned(),
    }
}
