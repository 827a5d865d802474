//! The keeper: a thread that has segments prepared before they are needed, watches the free space, and
//! vouches for the journal's end when it idles.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use windlass_core::store::Space;

use super::engine::Engine;
use super::files;
use super::journal::PREPARED_SEGMENTS;
use crate::store::lock;

/// How often the free space is looked at; a store that was full is back after at most this long.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the store stops.
pub(super) fn run(engine: &Engine) {
    let mut probed = Instant::now();
    let mut groups_before = u64::MAX;
    while !engine.stop.load(Ordering::Relaxed) {
        let prepared = prepare(engine);
        if probed.elapsed() >= PROBE_INTERVAL || prepared.is_err() {
            probe(engine, prepared.clone().err());
            probed = Instant::now();
            // Idle since the last look: what is confirmed shall not be taken for a torn tail.
            let groups = engine.groups.load(Ordering::Relaxed);
            if groups == groups_before {
                engine.vouch();
            }
            groups_before = groups;
        }
        let journal = lock(&engine.journal);
        let enough = journal.log.prepared() >= PREPARED_SEGMENTS;
        if (enough || prepared.is_err()) && !engine.stop.load(Ordering::Relaxed) {
            // A commit that takes a segment notifies; so does a stop.
            drop(engine.keeper_wake.wait_timeout(journal, PROBE_INTERVAL));
        }
    }
}

/// Why no segment could be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unprepared {
    /// There is no space for it.
    Full,
    /// Something else is missing, such as descriptors.
    Failed(String),
}

/// Prepares one segment if one is wanted.
fn prepare(engine: &Engine) -> Result<(), Unprepared> {
    let Some((number, free)) = lock(&engine.journal).log.wanted() else { return Ok(()) };
    let space = files::file_system(&engine.config.data_dir).map_or(0, |figures| figures.free);
    if free.is_none() && space < 2 * engine.shape.segment_bytes {
        // Filling the disk to the brim to find that it is not enough helps nobody.
        return Err(Unprepared::Full);
    }
    match engine.shape.prepare(number, free.clone()) {
        Ok(segment) => {
            lock(&engine.journal).log.adopt(segment);
            engine.progress.notify_all();
            Ok(())
        }
        Err(error) => {
            let no_fault_of_it = files::is_full(&error) || files::is_out_of_descriptors(&error);
            if let Some(free) = free.filter(|path| path.exists()) {
                if !no_fault_of_it {
                    // Left alone: trying it again for ever would end all new work, and the next one may do.
                    let path = free.display();
                    tracing::warn!(%path, %error, "a free journal segment cannot be used and is left alone");
                    return Ok(());
                }
                lock(&engine.journal).log.give_back(free);
            }
            if files::is_full(&error) {
                return Err(Unprepared::Full);
            }
            Err(Unprepared::Failed(format!("no journal segment can be prepared ({error})")))
        }
    }
}

/// Decides whether new work is taken: the reserve must be there, and room for the next checkpoint.
pub(super) fn probe(engine: &Engine, unprepared: Option<Unprepared>) {
    let reserve = lock(&engine.journal).log.prepared();
    let free = files::file_system(&engine.config.data_dir).map_or(0, |figures| figures.free);
    let was_low = engine.space() == Space::Low;
    // A little more is asked for to come back, so that the state does not flutter.
    let needed = engine.low_water() + if was_low { engine.shape.segment_bytes } else { 0 };
    let low = unprepared.is_some() && reserve < PREPARED_SEGMENTS || free < needed;
    let shortage = match unprepared {
        Some(Unprepared::Failed(shortage)) if free >= needed => Some(shortage),
        _ => None,
    };
    engine.set_low(low, shortage.clone());
    if low != was_low {
        match (low, shortage) {
            (true, Some(reason)) => {
                tracing::warn!(reason, reserve, "only work already taken on is finished");
            }
            (true, None) => {
                tracing::warn!(
                    free,
                    needed,
                    reserve,
                    "disk space is low; only work already taken on is finished"
                );
            }
            (false, _) => tracing::info!(free, "new work is taken again"),
        }
        engine.progress.notify_all();
        engine.wake_checkpoint();
    }
}
