//! Programs that end and assert their own result; see the folder `examples` of this package.

/// The code in the README is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
