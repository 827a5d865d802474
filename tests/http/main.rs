//! The HTTP API of a real process: working over HTTP, keys that make an enqueue safe to repeat, lists by filter.

mod bulk;
mod clients;
mod events;
mod keys;
mod support;
mod work;
