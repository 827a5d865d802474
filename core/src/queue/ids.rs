//! A map from job ids, with a keyed hash: ids come from clients, who must not be able to choose collisions. Nothing here ever
//! depends on the map's order.

#![expect(
    clippy::disallowed_types,
    reason = "looked up by id only; the order of iteration never reaches an effect"
)]

use std::collections::HashMap;

use crate::id::JobId;

/// Job id to `V`.
pub(super) type IdMap<V> = HashMap<JobId, V, foldhash::fast::RandomState>;
