//! Copies the core's sources into the build folder and plants the bugs of `src/plants.rs` in them.
//!
//! The core itself is never touched. A plant whose text does not stand exactly once in its file stops the build: the core has
//! changed, and whoever changed it writes the plant anew, so that no mutant is lost unnoticed.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/plants.rs"]
mod plants;

use plants::Plant;

/// Stands in a plant for "this bug is switched on".
const SWITCH: &str = "PLANTED";

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the package"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder for build output"));
    let core = here.join("../../../core/src");
    println!("cargo::rerun-if-changed={}", core.display());
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    copy(&core, &out);
    let plants = plants::all();
    let problems: Vec<String> = plants
        .iter()
        .enumerate()
        .filter_map(|(number, plant)| set(&core, &out, number, plant).err())
        .collect();
    assert!(problems.is_empty(), "\n\n{}\n", problems.join("\n"));
    root(&out.join("lib.rs"));
}

/// Copies a folder of sources.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder for the copy");
    for entry in fs::read_dir(from).expect("the core's sources") {
        let path = entry.expect("a readable entry").path();
        let copied = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            // The core's own tests stay with the core.
            let text =
                fs::read_to_string(&path).expect("a source is text").replace("#[cfg(test)]", "#[cfg(any())]");
            fs::write(&copied, text).expect("a source is copied");
        }
    }
}

/// Sets one plant into the copy.
fn set(core: &Path, out: &Path, number: usize, plant: &Plant) -> Result<(), String> {
    let name = plant.name;
    let wrong = |text: &str| Err(format!("plant {name}: {text}"));
    if plant.edits.iter().all(|edit| !edit.plant.contains(SWITCH)) {
        return wrong("it has no switch, so that the core would be wrong without it too");
    }
    if plant.caught_by.is_empty() || !plant.bug.ends_with('.') {
        return wrong("it says neither what the bug is nor who must catch it");
    }
    let switch = format!("crate::planted::on({number})");
    for edit in plant.edits {
        let original = fs::read_to_string(core.join(edit.file)).unwrap_or_default();
        if original.matches(edit.find).count() != 1 {
            return Err(format!(
                "plant {name}: core has changed: this text does not stand exactly once in core/src/{}; write the plant \
                 anew:\n{}",
                edit.file, edit.find
            ));
        }
        let path = out.join(edit.file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if text.matches(edit.find).count() != 1 {
            return Err(format!("plant {name}: another plant in core/src/{} overlaps it", edit.file));
        }
        let planted = edit.plant.replace(SWITCH, &switch);
        fs::write(&path, text.replacen(edit.find, &planted, 1))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// An included file may not begin with documentation or attributes of its own.
fn root(path: &Path) {
    let text = fs::read_to_string(path).expect("the core's root");
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#![")).collect();
    fs::write(path, kept.join("\n")).expect("the root is written");
}
