//! The job's way through real sockets: an embedded node, and peers that speak the native protocol frame by frame, so that each
//! side of every promise is seen from outside.

mod bounds;
mod credit;
mod loss;
mod membership;
mod order;
mod peer;
mod restart;
mod steer;
mod verdicts;
