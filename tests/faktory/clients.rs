//! Clients from registries, unchanged.
