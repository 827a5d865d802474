//! Who may do what, at every door: the matrix of roles and operations, cell by cell, against tables written by hand. The HTTP routes
//! have theirs in `dashboard/tests/http/access.rs`.

mod ends;
mod faktory;
mod native;
mod support;
