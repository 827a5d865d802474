//! Several nodes over one PostgreSQL: real processes, a real database, both killed and stopped.
//!
//! They need PostgreSQL's programs and say so, and pass, where there are none; with `WINDLASS_REQUIRE_POSTGRES=1`, as in CI, that is
//! a failure. `WINDLASS_CHAOS=50` repeats the faults as often as that.

mod conformance;
mod copies;
mod database;
mod fleet;
mod flight;
mod follow;
mod owners;
mod peers;
mod raw;
mod taking;
