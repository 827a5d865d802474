//! Every file can be read by whoever it is for, as far as this machine has the means: JSON always, YAML with Python's, alerts with
//! `promtool`. What is left out says so.

use std::process::{Command, Output};

use crate::files::{self, root};
use crate::report;

/// Reads every document of the files it is given. Two equal keys are a mistake that most readers pass over.
const READ_YAML: &str = r"
import sys, yaml
class Loader(yaml.SafeLoader): pass
def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != 'tag:yaml.org,2002:merge']
    twice = {str(key) for key in keys if keys.count(key) > 1}
    if twice: raise yaml.YAMLError('twice: ' + ', '.join(twice))
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)
Loader.add_constructor('tag:yaml.org,2002:map', mapping)
failed = False
for path in sys.argv[1:]:
    try:
        if not list(yaml.load_all(open(path, encoding='utf-8'), Loader)): raise yaml.YAMLError('empty')
    except yaml.YAMLError as error:
        failed = True
        print(path, error)
sys.exit(1 if failed else 0)
";

#[test]
fn the_dashboard_is_json_with_panels_of_its_own_place() {
    let text = files::read("deploy/grafana/windlass.json").text;
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("windlass.json is JSON");
    let panels = dashboard["panels"].as_array().expect("there are panels");
    assert!(panels.len() > 20, "{} panels", panels.len());
    let mut findings = Vec::new();
    for panel in panels {
        let name = panel["title"].as_str().unwrap_or("a panel without a title");
        let same = |key: &str| panels.iter().filter(|other| other[key] == panel[key]).count() > 1;
        if same("id") || same("gridPos") {
            findings.push(format!("{name}: another panel has its id or its place"));
        }
        let empty = panel["targets"].as_array().is_none_or(Vec::is_empty);
        if empty && panel["type"] != "row" {
            findings.push(format!("{name}: shows nothing"));
        }
    }
    report(&findings);
}

#[test]
fn manifests_are_yaml() {
    let here = ran(Command::new("python3").args(["-c", "import yaml"]));
    if !here.is_some_and(|output| output.status.success()) {
        eprintln!("skipped: there is no python3 with yaml (apt-get install python3-yaml)");
        return;
    }
    let yaml =
        files::described().into_iter().filter(|file| file.ends_with(".yml") || file.ends_with(".yaml"));
    let paths: Vec<_> = yaml.map(|file| root().join(file.path)).collect();
    assert!(paths.len() > 8, "the manifests are found");
    let read = ran(Command::new("python3").args(["-c", READ_YAML]).args(paths)).expect("it has just run");
    assert!(read.status.success(), "\n{}{}", said(&read.stdout), said(&read.stderr));
}

#[test]
fn alerts_fire_when_they_should() {
    let folder = root().join("deploy/prometheus");
    let Some(checked) =
        ran(Command::new("promtool").args(["check", "rules", "alerts.yml"]).current_dir(&folder))
    else {
        eprintln!("skipped: there is no promtool (apt-get install prometheus)");
        return;
    };
    assert!(checked.status.success(), "{}{}", said(&checked.stdout), said(&checked.stderr));
    let tested =
        ran(Command::new("promtool").args(["test", "rules", "alerts.test.yml"]).current_dir(&folder));
    let tested = tested.expect("it has just run");
    assert!(tested.status.success(), "{}{}", said(&tested.stdout), said(&tested.stderr));
}

/// What a program says; `None` when it is not installed.
fn ran(command: &mut Command) -> Option<Output> {
    command.output().ok()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
