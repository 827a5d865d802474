//! The name that was probably meant.

/// Furthest distance of a name that is offered as "did you mean".
const NEAR: usize = 3;

/// The name among `known` that is nearest to `name`, if one is near.
///
/// ```
/// use windlass_core::near::nearest;
/// assert_eq!(nearest("stat", ["kind", "state"]), Some("state"));
/// assert_eq!(nearest("zzzzz", ["kind", "state"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances =
        known.into_iter().map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    distances
        .min()
        .filter(|(distance, candidate)| *distance <= NEAR.min(candidate.len() / 2).max(1))
        .map(|(_, name)| name)
}
