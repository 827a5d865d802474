//! Lifelines: a part that the node cannot do without holds one, and a node of which one was cut ends by itself.
//!
//! A panic takes an actor or a thread away with all that waits for it, and nobody is told: its queue would hang for ever, its
//! schedules would fire no more. An end that a supervisor sees, and a start that finds everything confirmed, is better.

use tokio_util::sync::CancellationToken;

/// Where lifelines are attached; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifelines {
    cut: CancellationToken,
}

/// Held by one part. Being dropped is no harm, being dropped by a panic is.
#[derive(Debug)]
pub struct Lifeline {
    cut: CancellationToken,
    whose: String,
}

impl Lifelines {
    /// A lifeline for a part, by its name for people.
    #[must_use]
    pub fn hold(&self, whose: impl Into<String>) -> Lifeline {
        Lifeline { cut: self.cut.clone(), whose: whose.into() }
    }

    /// Returns when one was cut.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(part = self.whose, "a part of the node has panicked; the node ends by itself");
            self.cut.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_cuts() {
        let lines = Lifelines::default();
        drop(lines.hold("one"));
        assert!(!lines.cut.is_cancelled());
        let line = lines.hold("another");
        let thread = std::thread::spawn(move || {
            let _line = line;
            panic!("on purpose");
        });
        thread.join().expect_err("it panicked");
        assert!(lines.cut.is_cancelled());
    }
}
