//! What the suites share: the built binary as real processes, ended by their ids, and a ledger of what was promised.

pub mod certs;
pub mod check;
pub mod disk;
pub mod dump;
pub mod field;
pub mod fleet;
pub mod history;
pub mod http;
pub mod inject;
pub mod ledger;
pub mod life;
pub mod load;
pub mod namespace;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod producer;
pub mod runner;
pub mod script;
