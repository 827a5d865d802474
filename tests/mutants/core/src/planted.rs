//! The switches of the plants: per thread, at most one is on.

use std::cell::Cell;

use crate::plants;

/// Stands for "none is on".
const NONE: usize = usize::MAX;

thread_local! {
    static ON: Cell<usize> = const { Cell::new(NONE) };
    static REACHED: Cell<u64> = const { Cell::new(0) };
}

/// Whether the plant with this number is on; called from the planted places.
#[inline]
pub(crate) fn on(number: usize) -> bool {
    let on = ON.get() == number;
    if on {
        REACHED.set(REACHED.get() + 1);
    }
    on
}

/// How often this thread has come to the place of the plant that is, or was last, on.
#[must_use]
pub fn reached() -> u64 {
    REACHED.get()
}

/// Runs `body` with one plant on in this thread, and switches it off again, also when `body` panics.
///
/// # Panics
/// When there is no plant of that name.
pub fn with<R>(name: &str, body: impl FnOnce() -> R) -> R {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(NONE);
        }
    }
    let number = plants::all().iter().position(|plant| plant.name == name);
    ON.set(number.unwrap_or_else(|| panic!("there is no plant {name}")));
    REACHED.set(0);
    let _off = Off;
    body()
}
