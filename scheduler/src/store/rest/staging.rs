//! How a group of batches is gathered, the same in every engine: what is refused keeps its place in the row of results, and nothing
//! of the same queue is written behind it.

use windlass_core::store::{Batch, CommitError, Refused};

/// One call of commit on its way: batches are staged until there is no room, then written.
pub(in crate::store) trait Staging {
    /// Adds a batch to the group, or says why it is not taken.
    fn stage(&mut self, batch: Batch) -> Result<(), CommitError>;

    /// Makes the group durable, then visible, and notes the results. One without batches is legal.
    fn flush(&mut self);

    /// One per batch, in order; those that are staged are not in it yet.
    fn results(&mut self) -> &mut Vec<Result<(), CommitError>>;

    /// Takes all batches, in order, until each has its result.
    fn take(&mut self, group: Vec<Batch>) {
        let mut refused = Refused::default();
        for batch in group {
            let queue = batch.queue;
            let staged = refused.behind(&batch).map_or_else(|| self.stage(batch), Err);
            if let Err(error) = staged {
                refused.note(queue, &error);
                // What is staged keeps its place in the row of results: it has to be written before.
                self.flush();
                self.results().push(Err(error));
            }
        }
        self.flush();
    }
}
