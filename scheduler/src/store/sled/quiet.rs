//! Panics of sled as errors, and nothing of them on stderr: an operator whose file is damaged shall read one error that says
//! which file, not a row of panics of a library.
//!
//! The process has one panic hook, so ours stands in front of whichever was there and passes on all that is not sled's.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    /// How many calls of [`run`] this thread is in.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// What the last panic inside said, and where.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a call into sled. A panic in it becomes its text.
pub(super) fn run<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| hear(info, &before)));
    });
    INSIDE.with(|inside| inside.set(inside.get() + 1));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    INSIDE.with(|inside| inside.set(inside.get() - 1));
    outcome.map_err(|_| SAID.take().unwrap_or_else(|| "no text".to_owned()))
}

fn hear(info: &PanicHookInfo<'_>, before: &dyn Fn(&PanicHookInfo<'_>)) {
    let said = || {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no text");
        let place = info.location().map_or_else(String::new, |at| {
            let file = at.file().rsplit('/').next().unwrap_or_default();
            format!(" ({file}:{})", at.line())
        });
        format!("{}{place}", text.trim_end())
    };
    if INSIDE.with(Cell::get) > 0 {
        SAID.set(Some(said()));
    } else if std::thread::current().name().is_some_and(|name| name.starts_with("sled-")) {
        // Its own threads: whoever waits for them gets an error, and what matters is checked on every read.
        tracing::warn!(text = said(), "a thread of sled has panicked");
    } else {
        before(info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_an_error_with_its_text() {
        assert_eq!(run(|| 7), Ok(7));
        let said = run(|| panic!("cannot find pid {}", 7)).expect_err("it panicked");
        assert!(said.starts_with("cannot find pid 7 (quiet.rs:"), "{said}");
        let nested = run(|| run(|| panic!("inner")).expect_err("it panicked"));
        assert!(nested.expect("caught inside").starts_with("inner"));
        assert_eq!(INSIDE.with(Cell::get), 0);
    }
}
