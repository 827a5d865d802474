//! Pages of jobs: from the store what waits, is dead or kept, from the queues' memory what runs or was remembered. What the
//! store says is shown as the queue knows it now, so that a page never contradicts the queue.

use std::collections::HashMap;

use bytes::Bytes;
use windlass_core::api::{ApiError, ErrorCode, JobPage, JobView};
use windlass_core::filter::Filter;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobState;
use windlass_core::limits;
use windlass_core::queue::Stored;
use windlass_core::queue::read::{self, Found};
use windlass_core::store::keys::{Place, QueueNo, queue_range, region};
use windlass_core::time::Timestamp;

use super::actor::unreadable;
use super::op::Op;
use super::{QueueHandle, Registry, no_queue};
use crate::store::writer::StoreWriter;

/// Entries of a page when the caller does not say.
const LIMIT_DEFAULT: u32 = 50;
/// Records read at a time.
const READ_JOBS: usize = 256;
/// Bytes of payloads and results after which a page ends early.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where jobs of some states are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Timers,
    Ready,
    /// Timers whose time has come: they are ready, but their records have not moved.
    Due,
    Running,
    Finished,
    Kept,
    Dead,
}

use JobState::{Cancelled, Dead, Expired, Held, Ready, Retrying, Running, Scheduled, Succeeded};

impl Segment {
    const ALL: [Segment; 7] = [
        Segment::Timers,
        Segment::Ready,
        Segment::Due,
        Segment::Running,
        Segment::Finished,
        Segment::Kept,
        Segment::Dead,
    ];

    fn letter(self) -> char {
        match self {
            Segment::Timers => 't',
            Segment::Ready => 'r',
            Segment::Due => 'u',
            Segment::Running => 'l',
            Segment::Finished => 'f',
            Segment::Kept => 'k',
            Segment::Dead => 'd',
        }
    }

    /// Where jobs of these states are, in the order of a life; `None` stands for every state.
    fn of(states: Option<&[JobState]>) -> Vec<Segment> {
        let Some(states) = states else {
            return Segment::ALL.into_iter().filter(|segment| *segment != Segment::Due).collect();
        };
        let shows = |segment: Segment| match segment {
            // Timers that are due are shown among the timers, and beside the ready ones where no timers are shown.
            Segment::Timers => states.iter().any(|state| matches!(state, Scheduled | Retrying)),
            segment => states.iter().any(|state| segment.shows(*state)),
        };
        let timers = shows(Segment::Timers);
        Segment::ALL
            .into_iter()
            .filter(|segment| shows(*segment) && !(timers && *segment == Segment::Due))
            .collect()
    }

    /// Whether a job in this state is listed here, rather than in another segment.
    fn shows(self, state: JobState) -> bool {
        match self {
            Segment::Timers => matches!(state, Scheduled | Retrying | Ready | Held),
            Segment::Ready | Segment::Due => matches!(state, Ready | Held),
            Segment::Running => state == Running,
            Segment::Finished | Segment::Kept => matches!(state, Succeeded | Cancelled | Expired),
            Segment::Dead => state == Dead,
        }
    }

    /// The range of the store, for segments that are read from it.
    fn range(self, no: QueueNo, now: Timestamp) -> Option<(Bytes, Bytes)> {
        match self {
            Segment::Timers => Some(queue_range(region::TIMER, no)),
            Segment::Ready => Some(queue_range(region::READY, no)),
            Segment::Due => {
                let end = Place::Timer { run_at: now.plus_ms(1), seq: 0 }.key(no);
                Some((queue_range(region::TIMER, no).0, end))
            }
            Segment::Kept => Some(queue_range(region::KEPT, no)),
            Segment::Dead => Some(queue_range(region::DEAD, no)),
            Segment::Running | Segment::Finished => None,
        }
    }
}

/// Where a page ended: opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    queue: QueueName,
    segment: Segment,
    /// The last key or id that was looked at; empty at the beginning of the segment.
    last: Vec<u8>,
}

impl Cursor {
    fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(4 + 2 * self.last.len() + self.queue.as_str().len());
        text.push(self.segment.letter());
        for byte in &self.last {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('.');
        text.push_str(self.queue.as_str());
        text
    }

    fn from_text(text: &str) -> Option<Cursor> {
        let (place, queue) = text.split_once('.')?;
        let mut chars = place.chars();
        let letter = chars.next()?;
        let hex = chars.as_str();
        if !hex.is_ascii() || hex.len() % 2 != 0 || hex.len() > 128 {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        Some(Cursor {
            queue: queue.parse().ok()?,
            segment: Segment::ALL.into_iter().find(|segment| segment.letter() == letter)?,
            last: (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?,
        })
    }
}

/// A page in the making.
struct Filling<'f> {
    filter: &'f Filter,
    now: Timestamp,
    limit: usize,
    page: JobPage,
    bytes: usize,
}

impl Filling<'_> {
    fn is_full(&self) -> bool {
        self.page.jobs.len() >= self.limit
            || self.bytes >= PAGE_BYTES_MAX
            || self.page.scanned >= limits::PAGE_SCAN_MAX as u64
    }

    fn offer(&mut self, segment: Segment, job: JobView) {
        if segment.shows(job.state) && self.filter.matches(&job, self.now) {
            self.bytes += job.payload.data.len() + job.result.as_ref().map_or(0, |result| result.data.len());
            self.page.jobs.push(job);
        }
    }
}

impl Registry {
    /// One page of jobs that satisfy the filter.
    ///
    /// # Errors
    /// `Invalid` for a cursor or limit that makes no sense, `NotFound` for a queue that does not exist, or what a queue says.
    pub async fn list_jobs(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: Option<u32>,
        now: Timestamp,
    ) -> Result<JobPage, ApiError> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > limits::PAGE_MAX {
            let text = format!("limit is 1 to {}", limits::PAGE_MAX);
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
        let cursor = match cursor {
            None => None,
            Some(text) => Some(Cursor::from_text(text).ok_or_else(|| {
                let text = "the cursor is not one that a page gave; leave it out to begin at the beginning";
                ApiError::new(ErrorCode::Invalid, text)
            })?),
        };
        let queues = match filter.named_queue() {
            Some(name) => vec![self.find(&name).ok_or_else(|| no_queue(&name))?],
            None => self.all().into_iter().filter(|queue| filter.may_take_queue(queue.name())).collect(),
        };
        let segments = Segment::of(filter.states().as_deref());
        let mut filling = Filling { limit: limit as usize, page: JobPage::default(), bytes: 0, filter, now };
        for queue in queues {
            let resumed = cursor.as_ref().filter(|cursor| cursor.queue == *queue.name());
            if cursor.as_ref().is_some_and(|cursor| *queue.name() < cursor.queue) {
                continue;
            }
            let first =
                resumed.and_then(|cursor| segments.iter().position(|s| *s == cursor.segment)).unwrap_or(0);
            for (index, segment) in segments.iter().enumerate().skip(first) {
                let last =
                    resumed.filter(|_| index == first).map(|cursor| cursor.last.clone()).unwrap_or_default();
                if let Some(last) = fill(self.writer(), &queue, *segment, last, now, &mut filling).await? {
                    let next = Cursor { queue: queue.name().clone(), segment: *segment, last };
                    filling.page.next = Some(next.to_text());
                    return Ok(filling.page);
                }
            }
        }
        Ok(filling.page)
    }
}

/// Fills the page from one segment. Returns where it stopped when the page is full, `None` at the segment's end.
async fn fill(
    writer: &StoreWriter,
    queue: &QueueHandle,
    segment: Segment,
    mut last: Vec<u8>,
    now: Timestamp,
    filling: &mut Filling<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    loop {
        if filling.is_full() {
            return Ok(Some(last));
        }
        let (seen, exhausted) = match segment.range(queue.no(), now) {
            Some(range) => from_store(writer, queue, range, &last).await?,
            None => from_memory(queue, segment, &last).await?,
        };
        for (at, job) in seen {
            if filling.is_full() {
                return Ok(Some(last));
            }
            filling.page.scanned += 1;
            last = at;
            if let Some(job) = job {
                filling.offer(segment, job);
            }
        }
        if exhausted {
            return Ok(None);
        }
    }
}

/// Positions that were looked at, in order, each with the job there; and whether that was the end.
type Seen = (Vec<(Vec<u8>, Option<JobView>)>, bool);

async fn from_store(
    writer: &StoreWriter,
    queue: &QueueHandle,
    (mut from, to): (Bytes, Bytes),
    last: &[u8],
) -> Result<Seen, ApiError> {
    if !last.is_empty() {
        let mut behind = last.to_vec();
        behind.push(0);
        // A cursor of another queue's key would read that queue's jobs.
        from = from.max(Bytes::from(behind));
    }
    let reading = writer.read(move |store| read::scan(store, &from, &to, READ_JOBS));
    let Found { stored, exhausted } = reading.await.map_err(|e| unreadable(&e))?;
    let places: Vec<(JobId, Vec<u8>)> =
        stored.iter().map(|Stored { place, job, .. }| (job.id, place.key(queue.no()).to_vec())).collect();
    let views = queue.ask(|then| Op::Resolve { stored, then }).await?;
    let mut by_id: HashMap<JobId, JobView> = views.into_iter().map(|view| (view.id, view)).collect();
    Ok((places.into_iter().map(|(id, key)| (key, by_id.remove(&id))).collect(), exhausted))
}

async fn from_memory(queue: &QueueHandle, segment: Segment, last: &[u8]) -> Result<Seen, ApiError> {
    let after = <[u8; 16]>::try_from(last).ok().map(JobId);
    let limit = READ_JOBS;
    let jobs = if segment == Segment::Running {
        queue.ask(|then| Op::Running { after, limit, then }).await?
    } else {
        queue.ask(|then| Op::Finished { after, limit, then }).await?
    };
    let exhausted = jobs.len() < limit;
    Ok((jobs.into_iter().map(|job| (job.id.0.to_vec(), Some(job))).collect(), exhausted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_garbage_is_refused() {
        let cursor =
            Cursor { queue: "mail.eu/high".parse().unwrap(), segment: Segment::Dead, last: vec![0, 255, 46] };
        assert_eq!(Cursor::from_text(&cursor.to_text()), Some(cursor));
        for garbage in ["", ".", "d", "x00.q", "d0.q", "dzz.q", "d00.", "d00.two words", "dé.q", "d€1.q"] {
            assert_eq!(Cursor::from_text(garbage), None, "{garbage}");
        }
        assert_eq!(Cursor::from_text(&format!("d{}.q", "00".repeat(100))), None);
    }

    /// A due timer is ready, and stands in one list only.
    #[test]
    fn no_job_is_listed_twice() {
        for states in [&[Ready, Scheduled][..], &[Ready], &[Retrying], &[Ready, Dead]] {
            let segments = Segment::of(Some(states));
            let both = segments.contains(&Segment::Timers) && segments.contains(&Segment::Due);
            assert!(!both && !segments.is_empty(), "{states:?}");
        }
        assert_eq!(Segment::of(Some(&[])), []);
        assert!(!Segment::of(None).contains(&Segment::Due));
    }

    /// Every state is listed by some segment that is read for it, and by one only when all are listed.
    #[test]
    fn every_state_has_its_place() {
        for state in JobState::ALL {
            assert!(Segment::of(Some(&[state])).iter().any(|segment| segment.shows(state)), "{state}");
        }
    }
}
