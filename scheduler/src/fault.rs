//! Fault points: places at which a test lets this process die, stop for a while, fail or panic.
//!
//! Armed through the environment alone, `WINDLASS_FAULT_POINTS="journal.after_sync=kill@3,queue.before_release=pause:500"`: the
//! point, what happens there, and at which passing (`@3` the third, `@*` every one; without it the first). Part of every build,
//! so that what is tested is what is shipped; a process that is not armed pays one relaxed load per group or batch.
//!
//! The only global of this crate: a process dies as a whole.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The environment variable that arms points.
pub const VARIABLE: &str = "WINDLASS_FAULT_POINTS";
/// Longest pause that can be ordered, in milliseconds.
const PAUSE_MS_MAX: u64 = 600_000;

static ARMED: AtomicBool = AtomicBool::new(false);
static ORDERS: OnceLock<Vec<Order>> = OnceLock::new();

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal, $fails:literal;)*) => {
        /// A place in the code; named after the part and the moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)*
        }

        impl Point {
            /// Every point there is; a test passes each.
            pub const ALL: &[Point] = &[$(Point::$point),*];

            /// The name by which it is armed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)* }
            }

            /// Whether an error can be ordered here: the code around it has to expect one.
            #[must_use]
            pub fn can_fail(self) -> bool {
                match self { $(Point::$point => $fails,)* }
            }
        }
    };
}

points! {
    /// A group is about to be written to the journal.
    JournalBeforeWrite = "journal.before_write", true;
    /// A group is written and not synced.
    JournalAfterWrite = "journal.after_write", true;
    /// A group is durable and nobody has been told.
    JournalAfterSync = "journal.after_sync", true;
    /// The journal goes on to its next segment.
    JournalRotate = "journal.rotate", false;
    /// Segments are about to be given back.
    JournalRelease = "journal.release", false;
    /// A segment is about to be prepared.
    JournalPrepare = "journal.prepare", true;
    /// A checkpoint has set its overlay aside.
    CheckpointBegin = "checkpoint.begin", true;
    /// The new blocks are durable in sled, and no directory names them.
    CheckpointAfterFlush = "checkpoint.after_flush", true;
    /// The new directory is about to be written.
    DirectoryWrite = "directory.write", true;
    /// The new directory is written, and no manifest names it.
    CheckpointBeforeManifest = "checkpoint.before_manifest", true;
    /// The manifest names the new directory; nothing old is given back.
    CheckpointAfterManifest = "checkpoint.after_manifest", false;
    /// A start has replayed the journal and written nothing.
    OpenReplayed = "open.replayed", true;
    /// A start has made its epoch durable and not tidied up.
    OpenAnnounced = "open.announced", true;
    /// A stop in order is about to note the end of the journal.
    CloseBegin = "close.begin", false;
    /// A group is committed and the queues are not told.
    WriterBeforeTell = "writer.before_tell", false;
    /// A queue hands its batches to the writer.
    QueueBeforeSubmit = "queue.before_submit", false;
    /// A queue has learned that batches are durable and has answered nobody.
    QueueBeforeRelease = "queue.before_release", false;
    /// A session has answers or deliveries to write.
    SessionBeforeWrite = "session.before_write", true;
    /// A session has written answers or deliveries.
    SessionAfterWrite = "session.after_write", true;
    /// A schedule is due and its firing is not on its way.
    ScheduleBeforeFire = "schedule.before_fire", false;
    /// A firing is durable and its schedule has not taken note.
    ScheduleAfterCommit = "schedule.after_commit", false;
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Pause(Duration),
    Error(io::ErrorKind),
    Panic,
}

#[derive(Debug)]
struct Order {
    point: Point,
    action: Action,
    /// The passing at which it happens; `None` for every one.
    at: Option<u64>,
    passed: AtomicU64,
}

/// What is wrong with the text that arms points.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {0}")]
pub struct BadFaults(String);

/// Arms the points that the environment names, and says so loudly. Returns how many.
///
/// # Errors
/// A text that cannot be read, with what could have been meant.
pub fn arm_from_environment() -> Result<usize, BadFaults> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(0) };
    let orders = parse(&text)?;
    let count = orders.len();
    if count > 0 && ORDERS.set(orders).is_ok() {
        tracing::warn!(points = text, "FAULT POINTS ARE ARMED: this process will fail on purpose");
        ARMED.store(true, Ordering::Relaxed);
    }
    Ok(count)
}

/// Passes a point at which no error can be ordered.
pub(crate) fn pass(point: Point) {
    if ARMED.load(Ordering::Relaxed) {
        // Errors are refused when such a point is armed.
        let _ = act(point);
    }
}

/// Passes a point.
///
/// # Errors
/// The one that was ordered.
pub(crate) fn pass_or_fail(point: Point) -> io::Result<()> {
    if ARMED.load(Ordering::Relaxed) { act(point) } else { Ok(()) }
}

#[cold]
fn act(point: Point) -> io::Result<()> {
    for order in ORDERS.get().into_iter().flatten().filter(|order| order.point == point) {
        let passing = order.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if order.at.is_some_and(|at| at != passing) {
            continue;
        }
        tracing::warn!(point = point.name(), action = ?order.action, passing, "fault point");
        match order.action {
            Action::Kill => kill(),
            Action::Pause(time) => std::thread::sleep(time),
            Action::Error(kind) => {
                return Err(io::Error::new(kind, format!("ordered at fault point {}", point.name())));
            }
            Action::Panic => panic!("ordered at fault point {}", point.name()),
        }
    }
    Ok(())
}

/// Ends the process as `kill -9` does: nothing is run, flushed or closed.
fn kill() {
    // Only a process without a right to signal itself would come back from this.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

fn parse(text: &str) -> Result<Vec<Order>, BadFaults> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Result<Order, BadFaults> {
    let bad = |why: String| Err(BadFaults(why));
    let Some((name, rest)) = text.split_once('=') else {
        return bad(format!("{text:?} is not point=action@passing, such as journal.after_sync=kill@3"));
    };
    let Some(point) = Point::ALL.iter().copied().find(|point| point.name() == name.trim()) else {
        let names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        return bad(format!("there is no point {name:?}; the points are {}", names.join(", ")));
    };
    let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
    let at = match at.trim() {
        "*" => None,
        number => match number.parse::<u64>() {
            Ok(at) if at > 0 => Some(at),
            _ => return bad(format!("{number:?} is no passing; write a number from 1, or * for every one")),
        },
    };
    let (word, detail) = action.trim().split_once(':').unwrap_or((action.trim(), ""));
    let action = match (word, detail) {
        ("kill", "") => Action::Kill,
        ("panic", "") => Action::Panic,
        ("error", "" | "io") => Action::Error(io::ErrorKind::Other),
        ("error", "full") => Action::Error(io::ErrorKind::StorageFull),
        ("pause", ms) => match ms.parse::<u64>() {
            Ok(ms) if ms <= PAUSE_MS_MAX => Action::Pause(Duration::from_millis(ms)),
            _ => return bad(format!("{ms:?} is no pause; write milliseconds up to {PAUSE_MS_MAX}")),
        },
        _ => {
            return bad(format!(
                "there is no action {action:?}; write kill, panic, pause:MS, error or error:full"
            ));
        }
    };
    if matches!(action, Action::Error(_)) && !point.can_fail() {
        return bad(format!("nothing can fail at {}; write kill, panic or pause:MS", point.name()));
    }
    Ok(Order { point, action, at, passed: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        let orders =
            parse("journal.after_sync=kill@3, queue.before_release=pause:500, open.replayed=error:full@*")
                .unwrap();
        let read: Vec<_> = orders.iter().map(|o| (o.point, o.action, o.at)).collect();
        assert_eq!(
            read,
            [
                (Point::JournalAfterSync, Action::Kill, Some(3)),
                (Point::QueueBeforeRelease, Action::Pause(Duration::from_millis(500)), Some(1)),
                (Point::OpenReplayed, Action::Error(io::ErrorKind::StorageFull), None)
            ]
        );
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_advice() {
        let cases = [
            ("journal.aftersync=kill", "journal.after_sync"),
            ("journal.after_sync", "point=action"),
            ("journal.after_sync=explode", "write kill"),
            ("journal.after_sync=kill@0", "from 1"),
            ("journal.after_sync=pause:long", "milliseconds"),
            ("queue.before_submit=error", "nothing can fail"),
        ];
        for (text, advice) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(advice) && error.starts_with(VARIABLE), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn a_process_that_is_not_armed_passes() {
        pass(Point::QueueBeforeSubmit);
        assert!(pass_or_fail(Point::JournalBeforeWrite).is_ok());
    }
}
