//! Membership: who is alive by the gossip, and what nodes say of themselves. Soft state only; never a job, never the truth about a
//! lease or about who owns what.
//!
//! - `gossip` is the only file that knows the gossip library.
//! - `circle` remembers what was heard and when: the age of a sign of life, how clocks differ, who has gone.
//! - `ClusterActor` turns that into what others want to know: the hub hears who is alive, pages see the members.
//! - `facts` names what nodes say of themselves; `pulse` says it anew once a second.
//! - `vouch` finds the nodes that clients may be told of among those that the gossip names.
//! - `seats` is how requests learn who owns what, and how a node is told to give it up.

mod actor;
mod circle;
pub mod facts;
mod gossip;
mod pulse;
mod roster;
mod seats;
mod vouch;

pub use actor::Cluster;
pub use circle::{Circle, Departed, Member};
pub use gossip::{GossipConfig, GossipError};
pub use pulse::{Load, keep_pulse};
pub(crate) use roster::of_facts;
pub use roster::roster;
pub(crate) use seats::nobody_else;
pub use seats::{DrainOrder, Seat, Seats, SeatsView};
pub(crate) use vouch::{Vouched, proof};
