//! Flags over environment over file over defaults, and mistakes that name what was meant.

use std::fs;

use crate::support::{run, run_in, windlass};

#[test]
fn each_layer_covers_the_one_below_and_check_says_which_won() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "cluster = \"from-file\"\nhttp = \"off\"\nlease = \"20s\"\n";
    fs::write(dir.path().join("windlass.toml"), text).expect("the file is written");
    let mut command = windlass(&["check", "--json", "--lease", "30s"]);
    command.current_dir(dir.path()).env("WINDLASS_CLUSTER", "from-env");
    let got = run(command).ok().json();
    assert_eq!(got["cluster"]["value"], "from-env");
    assert_eq!(got["cluster"]["origin"], "$WINDLASS_CLUSTER");
    assert_eq!(got["http"]["value"], "off");
    assert_eq!(got["http"]["origin"], "windlass.toml:2");
    assert_eq!(
        (got["lease"]["value"].as_str(), got["lease"]["origin"].as_str()),
        (Some("30s"), Some("--lease"))
    );
    assert_eq!(got["native"]["origin"], "default");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one_and_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("windlass.toml"), "http = \"off\"\nhartbeat = \"1s\"\n")
        .expect("the file is written");
    for command in [&["check"][..], &["server"], &["dev"]] {
        let said = run_in(dir.path(), command).fails(2);
        assert!(
            said.err.contains("windlass.toml:2: there is no key hartbeat; did you mean heartbeat?"),
            "{}",
            said.err
        );
    }
    assert!(!dir.path().join("windlass-data").exists(), "nothing was started");
}

#[test]
fn bad_values_and_open_doors_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = run_in(dir.path(), &["server", "--lease", "soon"]).fails(2);
    assert!(said.err.contains("--lease") && said.err.contains("not a duration"), "{}", said.err);
    let said = run_in(dir.path(), &["server", "--http", "0.0.0.0:0"]).fails(2);
    assert!(said.err.contains("--insecure-bind"), "{}", said.err);
    let said = run_in(dir.path(), &["server", "--lease", "1s"]).fails(2);
    assert!(said.err.contains("heartbeats"), "{}", said.err);
    let said = run_in(dir.path(), &["check", "--config", "absent.toml"]).fails(2);
    assert!(said.err.contains("absent.toml"), "{}", said.err);
}

#[test]
fn mistakes_on_the_command_line_end_with_two() {
    for args in
        [&["job", "enqueu"][..], &["server", "--htpp", "off"], &["job", "get", "not-a-uuid"], &["frobnicate"]]
    {
        let said = run(windlass(args));
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.out.is_empty(), "talk goes to stderr");
    }
    let said = run(windlass(&["job", "get", "not-a-uuid", "--json"])).fails(2);
    assert!(said.err.starts_with("{\"error\":{\"code\":\"usage\""), "{}", said.err);
    assert!(run(windlass(&["job", "enqueu"])).err.contains("enqueue"), "the nearest verb is offered");
}

#[test]
fn help_begins_with_examples_and_completions_are_scripts() {
    let help = run(windlass(&["job", "enqueue", "--help"])).ok().out;
    let (examples, usage) = (help.find("Examples:"), help.find("Usage:"));
    assert!(examples.is_some() && examples < usage, "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(windlass(&["completions", shell])).ok().out;
        assert!(script.contains("enqueue") && script.contains("read-only-dashboard"), "{shell}");
    }
    let version = run(windlass(&["version", "--json"])).ok().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
