//! The pulse of a node in a cluster of several: once a second it tells its clock and what it has to do, by which the others know its
//! age of silence, the difference of the clocks, and the load. A node that can have no others beside it does without.

use std::time::Duration;

use super::facts;
use crate::clock::Clock;
use crate::cluster::Cluster;

/// Time between two beats; more often would only be gathered by the gossip.
const BEAT: Duration = Duration::from_secs(1);

/// What a node has to do right now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Jobs per second that it brings to success.
    pub rate: f64,
    /// Workers that are connected to it.
    pub workers: u32,
    /// Connections that are open at its native port, relayed ones included.
    pub connections: u32,
}

/// Tells the pulse until the gossip was left, or `load` says that there is nothing more to tell. Must run on the arbiter.
pub fn keep_pulse(cluster: Cluster, clock: Clock, load: impl AsyncFn() -> Option<Load> + 'static) {
    actix_rt::spawn(async move {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beats.tick() => {}
                () = cluster.left() => return,
            }
            let Some(load) = load().await else { return };
            cluster.set_all([
                (facts::LOAD, format!("{:.2}", load.rate)),
                (facts::WORKERS, load.workers.to_string()),
                (facts::CONNECTIONS, load.connections.to_string()),
                // The system's clock as it is, not the one that waits out steps back: differences are what is looked for.
                (facts::CLOCK, clock.system_wall().0.to_string()),
            ]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::facts::Facts;

    #[actix_rt::test]
    async fn a_node_tells_its_clock_and_its_load() {
        let cluster = Cluster::alone("test", Facts::new());
        let begun = Clock::system().system_wall().0;
        let load = Load { rate: 12.5, workers: 3, connections: 9 };
        keep_pulse(cluster.clone(), Clock::system(), async move || Some(load));
        let told = async {
            while cluster.facts().len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("the first beat comes at once");
        let facts = cluster.facts();
        assert_eq!((facts["load"].as_str(), facts["workers"].as_str()), ("12.50", "3"));
        assert!(facts["clock"].parse::<u64>().is_ok_and(|clock| clock >= begun));
        cluster.leave();
    }
}
