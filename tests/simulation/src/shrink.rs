//! Shortens the list of faults of a failing seed (delta debugging; Zeller, Hildebrandt 2002): leaves out ever smaller parts
//! as long as the same promise breaks.

/// Most runs that are spent on one seed.
const RUNS_MAX: usize = 600;

/// The shortest list found that still `fails`.
#[must_use]
pub fn shortest<F: Clone>(faults: Vec<F>, fails: impl Fn(&[F]) -> bool) -> Vec<F> {
    let mut runs = 0;
    let mut fails = |faults: &[F]| {
        runs += 1;
        runs <= RUNS_MAX && fails(faults)
    };
    let mut left = faults;
    let mut parts = 2;
    while !left.is_empty() {
        let size = left.len().div_ceil(parts);
        let shorter = (0..left.len()).step_by(size).find_map(|first| {
            let mut rest = left.clone();
            rest.drain(first..(first + size).min(left.len()));
            fails(&rest).then_some(rest)
        });
        match shorter {
            Some(rest) => {
                left = rest;
                parts = 2.max(parts - 1);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    left
}
