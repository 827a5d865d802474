//! The node's actors and the worker's client over a simulated network.
