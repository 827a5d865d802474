//! The planted bugs, as data. `build.rs` sets them into a copy of the core, the gate switches them on one by one.

#[path = "plants/chunks.rs"]
mod chunks;
#[path = "plants/durability.rs"]
mod durability;
#[path = "plants/leases.rs"]
mod leases;
#[path = "plants/life.rs"]
mod life;
#[path = "plants/order.rs"]
mod order;
#[path = "plants/ownership.rs"]
mod ownership;
#[path = "plants/schedules.rs"]
mod schedules;
#[path = "plants/windows.rs"]
mod windows;

/// One planted bug.
#[derive(Debug)]
pub struct Plant {
    /// Its name in tables.
    pub name: &'static str,
    /// The mistake in words, as a sentence.
    pub bug: &'static str,
    /// Who must catch it: names of invariants of the simulator, or [`MODEL`]; one of them is enough.
    pub caught_by: &'static [&'static str],
    /// Where it is planted.
    pub edits: &'static [Edit],
}

/// One place of a plant.
#[derive(Debug)]
pub struct Edit {
    /// The file below `core/src`.
    pub file: &'static str,
    /// Text that stands there exactly once.
    pub find: &'static str,
    /// What stands there instead; `PLANTED` is true while the plant is switched on.
    pub plant: &'static str,
}

/// Says that the model test must catch a plant: rules of a queue that a single client can see.
pub const MODEL: &str = "model";

/// All plants.
#[must_use]
pub fn all() -> Vec<&'static Plant> {
    let groups = [
        chunks::PLANTS,
        durability::PLANTS,
        leases::PLANTS,
        life::PLANTS,
        order::PLANTS,
        ownership::PLANTS,
        schedules::PLANTS,
        windows::PLANTS,
    ];
    groups.into_iter().flatten().collect()
}
