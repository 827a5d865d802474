//! What is done with arbitrary bytes: one function per decoder of the core. Each panics when the decoder breaks a promise; that
//! bytes are refused is fine.
//!
//! The same functions run twice: in [`tests/decoders`](../main.rs) over the seeds and over mutations of them, on any toolchain and
//! in every run; and under libFuzzer, which finds its own way in, through `tests/fuzz`.

pub mod calendar;
pub mod reader;
pub mod records;
pub mod steps;
pub mod wire;

use windlass_core::limits;

/// A decoder under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name; that of its seeds' folder and of its fuzz target.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// Bytes of memory that it may take per byte of input, beside what [`memory_max`] grants to all; `None` where it is not
    /// measured.
    pub memory_factor: Option<usize>,
}

/// Bytes of memory that a target may take for an input: little for a short one, whatever its lengths claim, and never more than a
/// frame of the largest size announces.
pub fn memory_max(factor: usize, bytes: usize) -> usize {
    let base = if bytes <= limits::FRAME_BYTES_MAX_UNGREETED {
        1024 * 1024
    } else {
        limits::FRAME_BYTES_MAX + 1024 * 1024
    };
    base + factor * bytes
}

/// The decoders of the core.
pub const CORE: &[Target] = &[
    Target { name: "frame", run: wire::frame, memory_factor: Some(64) },
    Target { name: "frame_stream", run: wire::frame_stream, memory_factor: Some(64) },
    Target { name: "job_record", run: records::job_record, memory_factor: Some(64) },
    Target { name: "chunk", run: records::chunk, memory_factor: Some(64) },
    Target { name: "small_records", run: records::small_records, memory_factor: Some(64) },
    Target { name: "schedule_record", run: records::schedule_record, memory_factor: Some(64) },
    Target { name: "keys", run: records::keys, memory_factor: Some(8) },
    Target { name: "names", run: records::names, memory_factor: Some(64) },
    Target { name: "cron", run: calendar::cron, memory_factor: Some(1_024) },
    Target { name: "every", run: calendar::every, memory_factor: Some(64) },
    Target { name: "zone", run: calendar::zone, memory_factor: Some(64) },
    Target { name: "core_step", run: steps::core_step, memory_factor: None },
];
