//! What happens by itself as time passes: leases of reserved jobs are renewed, reservations whose time is over end, and so do those
//! of dead workers. At the start, leases of the last run of this server become reservations again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use windlass_core::api::{ApiError, JobView};
use windlass_core::id::WorkerId;

use super::desk::Desk;
use super::fetched::Shown;
use super::reservations::Reservation;
use super::workers::Key;
use crate::queue::{Op, QueueHandle};

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(500);
/// Reservations that are ended at a time.
const EXPIRED_AT_ONCE: usize = 256;
/// Jobs of one page of what runs at the start.
const PAGE_JOBS: usize = 1_000;
/// A lease is renewed so often within its time.
const RENEWALS: u64 = 4;

/// Watches over the desk for ever. Must run on the arbiter.
pub(super) async fn keep(desk: Desk) {
    let mut renewed_at = desk.now().mono;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = desk.now().mono;
        desk.bury_dead_workers();
        if now.0.saturating_sub(renewed_at.0) >= desk.parts().lease_ms / RENEWALS {
            renewed_at = now;
            desk.renew();
        }
        let expired = desk.state().reservations.take_expired(now, EXPIRED_AT_ONCE);
        if !expired.is_empty() {
            // A store that has no room answers late, and the leases of all others are renewed meanwhile.
            let desk = desk.clone();
            actix_rt::spawn(async move {
                join_all(expired.into_iter().map(|held| desk.expire(held))).await;
            });
        }
    }
}

impl Desk {
    /// Renews every lease that stands for a reservation.
    pub(super) fn renew(&self) {
        let mut by_queue: BTreeMap<u32, (QueueHandle, Vec<Op>)> = BTreeMap::new();
        for (holder, queue) in self.state().reservations.holders() {
            let (_, ops) = by_queue.entry(queue.no()).or_insert_with(|| (queue.clone(), Vec::new()));
            ops.push(Op::Renew { worker: holder });
        }
        for (queue, ops) in by_queue.into_values() {
            if queue.post(ops).is_err() {
                tracing::warn!(queue = %queue.name(), "queue too busy to renew leases; once more in a moment");
            }
        }
    }

    /// Hands the jobs of dead workers to others.
    fn bury_dead_workers(&self) {
        let now = self.now().mono;
        let mut lost: Vec<(String, Reservation)> = Vec::new();
        {
            let mut state = self.state();
            for dead in state.workers.take_dead(now) {
                let held = if dead.reassign { state.reservations.take_of(dead.key) } else { Vec::new() };
                if !held.is_empty() {
                    tracing::warn!(wid = dead.wid, held = held.len(), why = dead.why, "Faktory worker lost");
                }
                lost.extend(held.into_iter().map(|held| (dead.why.clone(), held)));
            }
        }
        let mut told = std::collections::BTreeSet::new();
        for (why, held) in lost {
            if told.insert((held.holder, held.queue.no())) {
                lose(&held.queue, held.holder, why);
            }
        }
    }

    /// Makes reservations of the leases that this door has given out before the server was started again. Their workers go on
    /// running, and will say how it ended.
    ///
    /// # Errors
    /// What a queue says.
    pub(crate) async fn adopt(&self) -> Result<(), ApiError> {
        for queue in self.registry().all() {
            let mut after = None;
            loop {
                let page = queue.ask(|then| Op::Running { after, limit: PAGE_JOBS, then }).await?;
                for job in &page {
                    self.adopt_one(&queue, job);
                }
                match page.last() {
                    Some(last) if page.len() == PAGE_JOBS => after = Some(last.id),
                    _ => break,
                }
            }
            self.renew();
        }
        Ok(())
    }

    fn adopt_one(&self, queue: &QueueHandle, job: &JobView) {
        let Some(run) = job.attempts.last() else { return };
        let (Some(token), Some((worker, named))) = (run.token, Key::of_holder(&run.worker)) else { return };
        let handed = Shown::of_view(job).hand_out();
        let now = self.now();
        let left_ms = handed.terms.reserve_ms.saturating_sub(now.wall.since_ms(run.started_at));
        let mut state = self.state();
        if named {
            state.workers.expect(worker, now.mono);
        }
        state.reservations.add(Reservation {
            jid: handed.jid.into(),
            queue: queue.clone(),
            id: job.id,
            token,
            holder: run.worker,
            worker,
            kind: job.kind.clone(),
            attempt: run.attempt,
            started_at: run.started_at,
            expires: now.mono.plus_ms(left_ms),
            terms: handed.terms,
        });
    }
}

/// Ends the leases of a holder in a queue.
fn lose(queue: &QueueHandle, worker: WorkerId, why: String) {
    // If the queue is too busy to hear this, the leases end when nobody renews them.
    queue.post_or_refuse(Op::Lost { worker, session: u64::MAX, why });
}
