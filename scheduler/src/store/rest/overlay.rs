//! The overlay: what has changed since the last checkpoint, in key order, in memory. The journal is its durable form.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use bytes::Bytes;
use windlass_core::store::Write;

/// What an entry costs beside its key and value: two handles, two allocations, its share of the tree's nodes.
const ENTRY_BYTES: usize = 160;

/// What the overlay knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Slot {
    /// It has this value.
    Put {
        /// The value.
        value: Bytes,
        /// Whether nothing below the overlay can have the key, so that a delete leaves nothing behind.
        fresh: bool,
    },
    /// It is gone, though something below may still have it.
    Gone,
}

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Slot::Put { value, .. } => value.len(),
            Slot::Gone => 0,
        }
    }
}

/// Recent keys.
#[derive(Debug, Default)]
pub(in crate::store) struct Overlay {
    map: BTreeMap<Bytes, Slot>,
    bytes: usize,
    bytes_put: usize,
    gone: usize,
}

impl Overlay {
    /// Applies a write. `below` tells whether anything below may have the key; it is asked only for keys new here.
    pub(in crate::store) fn apply(&mut self, write: Write, below: impl FnOnce(&[u8]) -> bool) {
        match write {
            Write::Put { key, value } => self.put(key, value, below),
            Write::Delete { key } => self.delete(key, below),
        }
    }

    fn put(&mut self, key: Bytes, value: Bytes, below: impl FnOnce(&[u8]) -> bool) {
        self.bytes_put += value.len();
        match self.map.entry(key) {
            Entry::Vacant(entry) => {
                self.bytes += ENTRY_BYTES + entry.key().len() + value.len();
                self.bytes_put += entry.key().len();
                let fresh = !below(entry.key());
                entry.insert(Slot::Put { value, fresh });
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get().bytes();
                let fresh = matches!(entry.get(), Slot::Put { fresh: true, .. });
                self.gone -= usize::from(matches!(entry.get(), Slot::Gone));
                self.bytes = self.bytes + value.len() - old;
                self.bytes_put -= old;
                entry.insert(Slot::Put { value, fresh });
            }
        }
    }

    fn delete(&mut self, key: Bytes, below: impl FnOnce(&[u8]) -> bool) {
        match self.map.entry(key) {
            Entry::Vacant(entry) => {
                if below(entry.key()) {
                    self.bytes += ENTRY_BYTES + entry.key().len();
                    self.bytes_put += entry.key().len();
                    self.gone += 1;
                    entry.insert(Slot::Gone);
                }
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get().bytes();
                self.bytes -= old;
                self.bytes_put -= old;
                if matches!(entry.get(), Slot::Put { fresh: true, .. }) {
                    let key = entry.remove_entry().0;
                    self.bytes -= ENTRY_BYTES + key.len();
                    self.bytes_put -= key.len();
                } else {
                    self.gone += usize::from(!matches!(entry.get(), Slot::Gone));
                    entry.insert(Slot::Gone);
                }
            }
        }
    }

    pub(in crate::store) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.map.get(key)
    }

    /// Entries with `from <= key < to`, ascending.
    pub(in crate::store) fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Slot)> {
        self.map.range::<[u8], _>((from, to))
    }

    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Slot)> {
        self.map.iter()
    }

    /// Keys that something below may have and that are gone.
    pub(in crate::store) fn gone(&self) -> usize {
        self.gone
    }

    /// Bytes in memory, about.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of keys and values alone: what a checkpoint has to put somewhere.
    pub(in crate::store) fn bytes_put(&self) -> usize {
        self.bytes_put
    }

    #[cfg(test)]
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: &'static str) -> Write {
        Write::Put { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(value.as_bytes()) }
    }

    fn delete(key: &'static str) -> Write {
        Write::Delete { key: Bytes::from_static(key.as_bytes()) }
    }

    #[test]
    fn a_young_key_leaves_nothing_behind() {
        let mut overlay = Overlay::default();
        overlay.apply(put("a", "1"), |_| false);
        overlay.apply(put("a", "22"), |_| false);
        overlay.apply(delete("a"), |_| false);
        overlay.apply(delete("b"), |_| false);
        assert!(overlay.is_empty());
        assert_eq!((overlay.bytes(), overlay.bytes_put()), (0, 0));
    }

    #[test]
    fn a_key_that_may_rest_below_leaves_a_mark() {
        let mut overlay = Overlay::default();
        overlay.apply(put("a", "1"), |_| true);
        overlay.apply(delete("a"), |_| true);
        overlay.apply(delete("a"), |_| true);
        assert_eq!((overlay.get(b"a"), overlay.gone()), (Some(&Slot::Gone), 1));
        // Put again over the mark: what rests below must still be hidden when this one goes too.
        overlay.apply(put("a", "2"), |_| false);
        assert_eq!(overlay.gone(), 0);
        overlay.apply(delete("a"), |_| false);
        overlay.apply(delete("b"), |_| true);
        assert_eq!((overlay.get(b"a"), overlay.gone()), (Some(&Slot::Gone), 2));
    }
}
