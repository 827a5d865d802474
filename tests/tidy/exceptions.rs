//! Where a rule does not hold, and why. A line that is no longer needed must go.

/// Rule, path, and the reason.
pub(crate) const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "HashMap",
        "core/src/queue/ids.rs",
        "keyed by ids that are random already, with a fixed hasher; never iterated",
    ),
    (
        "std::thread",
        "core/src/store/conformance.rs",
        "the suite for stores reads while another thread commits",
    ),
];

/// Takes the findings of `rule` that are excepted out; exceptions without a finding become findings themselves.
pub(crate) fn except(rule: &str, findings: Vec<(String, String)>) -> Vec<String> {
    let excepted = |path: &str| EXCEPTIONS.iter().any(|(r, p, _)| *r == rule && *p == path);
    let needless =
        EXCEPTIONS.iter().filter(|(r, path, _)| *r == rule && findings.iter().all(|(p, _)| p != path));
    let stale: Vec<String> =
        needless.map(|(_, path, _)| format!("{path}: the exception is not needed any more")).collect();
    let open = findings
        .into_iter()
        .filter(|(path, _)| !excepted(path))
        .map(|(path, text)| format!("{path}: {text}"));
    open.chain(stale).collect()
}
