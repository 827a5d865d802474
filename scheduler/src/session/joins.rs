//! Answers that are put together from several queues: one report, one resume, many queues.

use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::{JobId, QueueName};
use windlass_core::wire::{LeaseRef, ReportResult, ServerFrame, Token};

use super::link::Link;
use crate::queue::{Resumed, Then};

/// A report whose outcomes belong to one or more queues.
pub(super) struct ReportJoin {
    link: Arc<Link>,
    request: u64,
    state: Mutex<(Vec<ReportResult>, usize)>,
}

impl ReportJoin {
    /// `parts` is the number of queues that will answer. Outcomes that no queue answers stay refused as stale.
    pub(super) fn new(link: Arc<Link>, request: u64, outcomes: usize, parts: usize) -> Arc<ReportJoin> {
        let results = vec![ReportResult::Refused(ErrorCode::StaleLease); outcomes];
        Arc::new(ReportJoin { link, request, state: Mutex::new((results, parts)) })
    }

    /// The way back for the outcomes at these positions, all of `queue`.
    pub(super) fn part(
        self: &Arc<Self>,
        queue: QueueName,
        positions: Vec<(usize, JobId, Token)>,
    ) -> Then<Vec<ReportResult>> {
        let join = Arc::clone(self);
        Box::new(move |answer| join.answered(&queue, &positions, answer))
    }

    fn answered(
        &self,
        queue: &QueueName,
        positions: &[(usize, JobId, Token)],
        answer: Result<Vec<ReportResult>, ApiError>,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::with_capacity(positions.len());
        for (index, (position, id, token)) in positions.iter().enumerate() {
            let result = match &answer {
                Ok(results) => {
                    results.get(index).copied().unwrap_or(ReportResult::Refused(ErrorCode::Internal))
                }
                Err(error) => ReportResult::Refused(error.code),
            };
            // What was refused for want of room is reported again, so its lease goes on until then.
            if matches!(result, ReportResult::Recorded | ReportResult::Refused(ErrorCode::StaleLease)) {
                ended.push((*id, *token));
            }
            state.0[*position] = result;
        }
        self.link.let_go(queue, ended);
        state.1 = state.1.saturating_sub(1);
        if state.1 == 0 {
            let results = std::mem::take(&mut state.0);
            self.link.send(&ServerFrame::Reported { request: self.request, results });
        }
    }

    /// Answers at once when no queue is concerned.
    pub(super) fn answer_if_empty(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1 == 0 {
            let results = std::mem::take(&mut state.0);
            self.link.send(&ServerFrame::Reported { request: self.request, results });
        }
    }
}

/// Leases presented to one or more queues.
pub(super) struct ResumeJoin {
    link: Arc<Link>,
    state: Mutex<ResumeState>,
}

struct ResumeState {
    kept: Vec<LeaseRef>,
    lost: Vec<LeaseRef>,
    parts: usize,
}

impl ResumeJoin {
    /// `parts` is the number of queues that will answer; `lost` belongs to no queue at all.
    pub(super) fn new(link: Arc<Link>, lost: Vec<LeaseRef>, parts: usize) -> Arc<ResumeJoin> {
        Arc::new(ResumeJoin { link, state: Mutex::new(ResumeState { kept: Vec::new(), lost, parts }) })
    }

    /// The way back of one queue.
    pub(super) fn part(self: &Arc<Self>, queue: QueueName) -> Then<Resumed> {
        let join = Arc::clone(self);
        Box::new(move |answer| match answer {
            Ok(resumed) => join.answered(&queue, resumed),
            // The worker may not believe that its leases are gone, so it has to ask again.
            Err(_) => join.link.broken.cancel(),
        })
    }

    fn answered(&self, queue: &QueueName, resumed: Resumed) {
        let lease = |(id, token)| LeaseRef { queue: queue.clone(), id, token };
        self.link.let_go(queue, resumed.lost.iter().copied());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.extend(resumed.kept.into_iter().map(lease));
        state.lost.extend(resumed.lost.into_iter().map(lease));
        state.parts = state.parts.saturating_sub(1);
        self.answer(&mut state);
    }

    /// Answers at once when no queue is concerned.
    pub(super) fn answer_if_empty(&self) {
        self.answer(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn answer(&self, state: &mut ResumeState) {
        if state.parts == 0 {
            let (kept, lost) = (std::mem::take(&mut state.kept), std::mem::take(&mut state.lost));
            self.link.send(&ServerFrame::Resumed { kept, lost });
        }
    }
}
