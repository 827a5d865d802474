//! What is done to the hosts and to the network between them: drawn from the seed as a list of steps with their times, so that
//! it can be printed, shortened and done again.

use std::time::Duration;

use turmoil::Sim;
use windlass_scheduler::chance::Chance;

use super::book::{Event, frozen};
use super::hosts::{GRACE_MS, LEASE_MS, Site};
use super::work::{PRODUCERS, SERVER, WORKERS};

/// Most disturbances of one run.
const DISTURBANCES_MAX: u64 = 7;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Messages between this host and the server are lost.
    Partition(&'static str),
    /// Messages from this host to the server are lost, the other way they arrive.
    Mute(&'static str),
    /// They arrive again.
    Repair(&'static str),
    /// Messages between this host and the server wait.
    Hold(&'static str),
    /// They arrive.
    Release(&'static str),
    /// The process is killed: its connections break.
    Kill(&'static str),
    /// The machine is gone: nobody hears of it.
    PowerCut(&'static str),
    /// The server is asked to stop in order, as for an update.
    Stop,
    /// The process begins again.
    Restart(&'static str),
    /// Longest way of a message from now on.
    Latency(Duration),
    /// So many of a thousand messages cut their link until another one mends it.
    Loss(u16),
    /// The disk is slow, or no longer.
    SlowDisk(bool),
    /// There is no space for new work, or there is again.
    FullDisk(bool),
}

/// Steps in the order of their times.
pub(crate) type Plan = Vec<(Duration, Step)>;

/// What a run may be disturbed by. Each seed draws its own mix, since faults that come too often hide others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    links: bool,
    kills: bool,
    server: bool,
    weather: bool,
    disk: bool,
}

impl Mix {
    pub(crate) fn draw(chance: &Chance) -> Mix {
        let coin = || chance.u64().is_multiple_of(2);
        Mix { links: coin(), kills: coin(), server: coin(), weather: coin(), disk: coin() }
    }
}

/// Draws what happens within `span`; afterwards everything is well again.
pub(crate) fn draw(chance: &Chance, mix: Mix, span: Duration) -> Plan {
    let below = |bound: u64| chance.u64() % bound;
    let span = u64::try_from(span.as_millis()).unwrap_or(1);
    let mut plan = Plan::new();
    for _ in 0..below(DISTURBANCES_MAX + 1) {
        let begin = below(span * 3 / 4);
        // Around the two times that decide about leases, shorter and longer.
        let most = if below(2) == 0 { GRACE_MS } else { LEASE_MS + GRACE_MS };
        let end = (begin + 1 + below(most)).min(span);
        let host = if below(3) == 0 { PRODUCERS } else { WORKERS }[usize::from(below(2) == 0)];
        let worker = WORKERS[usize::from(below(2) == 0)];
        let pair = match below(5) {
            0 if mix.links => match below(4) {
                0 => Some((Step::Partition(host), Step::Repair(host))),
                1 => Some((Step::Mute(host), Step::Repair(host))),
                _ => Some((Step::Hold(host), Step::Release(host))),
            },
            1 if mix.kills => {
                let fall = if below(2) == 0 { Step::Kill(worker) } else { Step::PowerCut(worker) };
                Some((fall, Step::Restart(worker)))
            }
            2 if mix.server => {
                let fall =
                    [Step::Kill(SERVER), Step::PowerCut(SERVER), Step::Stop][chance.u64() as usize % 3];
                Some((fall, Step::Restart(SERVER)))
            }
            3 if mix.weather => match below(2) {
                0 => Some((Step::Latency(Duration::from_millis(20 + below(200))), Step::Latency(CALM))),
                _ => Some((Step::Loss(u16::try_from(1 + below(20)).unwrap_or(1)), Step::Loss(0))),
            },
            4 if mix.disk => match below(4) {
                0 => Some((Step::FullDisk(true), Step::FullDisk(false))),
                _ => Some((Step::SlowDisk(true), Step::SlowDisk(false))),
            },
            _ => None,
        };
        if let Some((first, last)) = pair {
            plan.push((Duration::from_millis(begin), first));
            plan.push((Duration::from_millis(end), last));
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// Longest way of a message when nothing is wrong.
pub(crate) const CALM: Duration = Duration::from_millis(15);

/// Does one step.
pub(crate) fn take(sim: &mut Sim<'_>, site: &Site, chance: &Chance, step: Step) {
    let now = sim.elapsed();
    frozen(now, || {
        site.book.write(Event::Fault(format!("{step:?}")));
        match step {
            Step::Partition(host) => sim.partition(host, SERVER),
            Step::Mute(host) => sim.partition_oneway(host, SERVER),
            Step::Repair(host) => sim.repair(host, SERVER),
            Step::Hold(host) => sim.hold(host, SERVER),
            Step::Release(host) => sim.release(host, SERVER),
            Step::Stop => site.stop.notify_waiters(),
            Step::Kill(host) => end(sim, site, chance, host),
            Step::PowerCut(host) => {
                let peers =
                    || WORKERS.into_iter().chain(PRODUCERS).chain([SERVER]).filter(|peer| *peer != host);
                peers().for_each(|peer| sim.partition(host, peer));
                end(sim, site, chance, host);
                peers().for_each(|peer| sim.repair(host, peer));
            }
            // Two overlapping falls have two restarts; the second finds the host up.
            Step::Restart(host) if sim.is_host_running(host) => {}
            Step::Restart(host) => sim.bounce(host),
            Step::Latency(most) => sim.set_max_message_latency(most),
            Step::Loss(permille) => sim.set_fail_rate(f64::from(permille) / 1_000.0),
            Step::SlowDisk(slow) => site.platter.set_slow(slow),
            Step::FullDisk(full) => site.platter.set_full(full),
        }
    });
}

fn end(sim: &mut Sim<'_>, site: &Site, chance: &Chance, host: &'static str) {
    if !sim.is_host_running(host) {
        return;
    }
    site.book.in_any_order(|| sim.crash(host));
    if host == SERVER {
        let durable_through = site.platter.crash(chance);
        site.book.write(Event::Down { durable_through });
    } else {
        site.book.write(Event::Died { host });
    }
}

/// Makes everything well.
pub(crate) fn heal(sim: &mut Sim<'_>, site: &Site, chance: &Chance) {
    for host in WORKERS.into_iter().chain(PRODUCERS) {
        take(sim, site, chance, Step::Repair(host));
        take(sim, site, chance, Step::Release(host));
    }
    for step in [Step::Latency(CALM), Step::Loss(0), Step::SlowDisk(false), Step::FullDisk(false)] {
        take(sim, site, chance, step);
    }
    for host in WORKERS.into_iter().chain([SERVER]) {
        take(sim, site, chance, Step::Restart(host));
    }
}
