//! Membership: who is alive by the gossip. Soft state only; never a job, never the truth about a lease.
//!
//! - `gossip` is the only file that knows the gossip library.
//! - `ClusterActor` turns its views into what others want to know: the hub hears who is alive, pages see the members.

mod actor;
mod gossip;

pub use actor::Cluster;
pub use gossip::{GossipConfig, GossipError, Member};
