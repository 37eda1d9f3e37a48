//! The files of `docs/deploy` and the tests of alerts fit the programs.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use diesel_outbox::config::Config;

use super::{between, root};

/// The units and the manifests: their names and texts.
fn files() -> Vec<(String, String)> {
    let folders = ["docs/deploy/systemd", "docs/deploy/kubernetes"];
    let paths = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let paths: Vec<PathBuf> = paths.map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() > 10);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The command lines of a file.
fn commands(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter_map(|line| {
        let unit = line.strip_prefix("ExecStart=/usr/local/bin/");
        let manifest = line.trim().strip_prefix("command: [");
        let manifest = manifest.map(|list| list.trim_end_matches(']').replace(", ", " "));
        unit.map(str::to_owned).or(manifest)
    });
    let words = |line: String| line.split(' ').map(str::to_owned).collect();
    lines.map(words).collect()
}

fn program(name: &str) -> &'static str {
    match name {
        "publish" => env!("CARGO_BIN_EXE_publish"),
        "subscribe" => env!("CARGO_BIN_EXE_subscribe"),
        "outbox" => env!("CARGO_BIN_EXE_outbox"),
        // A service's own; this one has the same arguments.
        "calls" => env!("CARGO_BIN_EXE_outbox-test-calls"),
        other => panic!("no program {other}"),
    }
}

#[test]
fn units_and_manifests_name_commands_and_flags_that_exist() {
    let mut checked = 0;
    for (file, text) in files() {
        for words in commands(&text) {
            let mut help = Command::new(program(&words[0]));
            if words[0] == "outbox" {
                help.arg(&words[1]);
            }
            let help = help.arg("--help").output().unwrap();
            assert!(help.status.success(), "{file}: {words:?}");
            let help = String::from_utf8(help.stdout).unwrap();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
                    "{file}: {flag}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "{checked}");
}

#[test]
fn units_and_manifests_name_variables_that_exist() {
    let mut known: HashSet<String> = Config::keys().map(|key| key.env()).collect();
    known.insert("OUTBOX_CONFIG".to_owned());
    for (file, text) in files() {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("OUTBOX_")) {
            assert!(known.contains(word), "{file}: {word}");
        }
        // A comment that names a setting.
        for name in between(&text, "setting `", "`") {
            assert!(Config::keys().any(|key| key.name == name), "{file}: {name}");
        }
    }
}

#[test]
fn supervisors_wait_longer_than_the_programs() {
    let seconds = |text: &str| Duration::from_secs(text.trim_end_matches('s').parse().unwrap());
    let config = Config::default();
    let (mut stops, mut watchdogs) = (0, 0);
    for (file, text) in files() {
        for line in text.lines().map(str::trim) {
            let stop = line.strip_prefix("TimeoutStopSec=");
            if let Some(limit) = stop.or(line.strip_prefix("terminationGracePeriodSeconds: ")) {
                assert!(Some(seconds(limit)) > config.shutdown_timeout, "{file}");
                stops += 1;
            }
            if let Some(limit) = line.strip_prefix("WatchdogSec=") {
                assert!(seconds(limit) >= Duration::from_secs(10), "{file}");
                assert!(text.contains("Type=notify"), "{file}");
                watchdogs += 1;
            }
        }
    }
    assert_eq!((stops, watchdogs), (6, 3));
}

#[test]
fn each_alert_is_tested_to_fire_and_not_to_fire() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let rules = read("docs/monitoring/alerts.yaml");
    let tests = read("tests/monitoring/alerts.yaml");
    let alerts = between(&rules, "- alert: ", "\n");
    assert!(alerts.len() > 10);
    for alert in alerts {
        let cases = tests.split("- alertname: ").skip(1);
        let cases: Vec<&str> = cases
            .filter(|case| case.lines().next() == Some(alert))
            .collect();
        assert!(
            cases.iter().any(|case| case.contains("exp_alerts: []")),
            "{alert} does not fire"
        );
        assert!(
            cases.iter().any(|case| case.contains("exp_labels:")),
            "{alert} fires"
        );
    }
}
