//! The clients of one file each, `examples/clients`: a program in their language enqueues, works and checks, against a real
//! server. A machine without the language says that the test is skipped; CI sets `WINDLASS_REQUIRE_CLIENTS`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Site;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Whether the command can be run; where it must be, that it cannot is a failure.
fn has(program: &str, args: &[&str]) -> bool {
    let there = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    let required = std::env::var_os("WINDLASS_REQUIRE_CLIENTS").is_some();
    assert!(there || !required, "{program} {args:?} does not run here");
    if !there {
        eprintln!("SKIP({program} {args:?} does not run here)");
    }
    there
}

fn tell(command: &mut Command) {
    let output = command.output().expect("it ran a moment ago");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ends well"), "{said}\n{complaint}");
}

#[test]
fn the_python_client_tells_its_story() {
    if !has("python3", &["--version"]) {
        return;
    }
    let site = Site::open();
    let story = root().join("tests/http/programs/story.py");
    let client = root().join("examples/clients");
    // No bytecode beside the sources.
    tell(
        Command::new("python3").arg("-B").arg(story).arg(format!("http://{}", site.server.http)).arg(client),
    );
}

/// Node takes the types off by itself from 22.6 on. For older ones `WINDLASS_TS_CLIENT` names the compiled file.
#[test]
fn the_typescript_client_tells_its_story() {
    let strip = "--experimental-strip-types";
    let compiled = std::env::var_os("WINDLASS_TS_CLIENT").map(PathBuf::from);
    let args: &[&str] = if compiled.is_some() { &["--version"] } else { &[strip, "--version"] };
    if !has("node", args) {
        return;
    }
    let site = Site::open();
    let mut node = Command::new("node");
    if compiled.is_none() {
        node.args([strip, "--no-warnings"]);
    }
    let client = compiled.unwrap_or_else(|| root().join("examples/clients/windlass.ts"));
    let story = root().join("tests/http/programs/story.mjs");
    tell(node.arg(story).arg(format!("http://{}", site.server.http)).arg(client));
}
