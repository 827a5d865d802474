//! File descriptors: how many there are, and how many of them connections may take.
//!
//! A store that finds none left can prepare no journal segment and complete no checkpoint, so strangers at the doors would
//! end all new work. Therefore the doors close before.

/// Threads that serve HTTP.
pub(super) const HTTP_WORKERS: usize = 2;
/// Descriptors for everything but native connections: Faktory, HTTP, the store's files.
const DESCRIPTORS_BESIDE: u64 = 4_096 + FAKTORY_CONNECTIONS;
/// Most Faktory connections.
const FAKTORY_CONNECTIONS: u64 = crate::faktory::CONNECTIONS_MAX as u64;
/// Descriptors that no connection gets: the runtimes take about thirty, the rest is for the store's files.
const DESCRIPTORS_OWN: u64 = 64;
/// Most connections of one thread that serves HTTP.
const HTTP_CONNECTIONS_MAX: u64 = 2_000;

/// How many connections there may be at each door, so that the store never finds the descriptors used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doors {
    pub(super) native: u32,
    pub(super) faktory: u32,
    /// Of each thread that serves HTTP.
    pub(super) http: usize,
}

impl Doors {
    /// Shares `limit` descriptors out: some for the node itself, a fifth of the rest for Faktory, a quarter of what is left then
    /// for HTTP.
    pub(super) fn share(limit: u64) -> Doors {
        let rest = limit.saturating_sub(DESCRIPTORS_OWN);
        let faktory = (rest / 5).clamp(1, FAKTORY_CONNECTIONS);
        let rest = rest.saturating_sub(faktory);
        let native = (rest * 3 / 4).clamp(1, windlass_core::limits::CONNECTIONS_MAX as u64);
        let http = (rest.saturating_sub(native) / HTTP_WORKERS as u64).clamp(1, HTTP_CONNECTIONS_MAX);
        Doors {
            native: u32::try_from(native).unwrap_or(u32::MAX),
            faktory: u32::try_from(faktory).unwrap_or(u32::MAX),
            http: usize::try_from(http).unwrap_or(usize::MAX),
        }
    }
}

/// Connections need descriptors, and systems give a process few unless it asks. Returns how many there are.
pub(super) fn raise_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = windlass_core::limits::CONNECTIONS_MAX as u64 + DESCRIPTORS_BESIDE;
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < allowed) {
        limit.current = Some(allowed);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised; fewer connections are possible");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_last_descriptors() {
        for limit in [80, 96, 256, 1_024, 20_096, 1 << 20] {
            let doors = Doors::share(limit);
            let taken =
                u64::from(doors.native) + u64::from(doors.faktory) + doors.http as u64 * HTTP_WORKERS as u64;
            assert!(taken + DESCRIPTORS_OWN <= limit, "{limit}: {doors:?}");
        }
        let usual = Doors::share(windlass_core::limits::CONNECTIONS_MAX as u64 + DESCRIPTORS_BESIDE);
        assert_eq!(usual.native as usize, windlass_core::limits::CONNECTIONS_MAX);
        assert!(usual.http > 1_900, "{usual:?}");
    }
}
