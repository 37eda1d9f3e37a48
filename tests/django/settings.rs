//! The documentation's table of Django's settings, against the package itself.

use std::process::Command;

use crate::service::python;

/// Those that the package's documentation names and its module does not read under that name.
const ELSEWHERE: [&str; 2] = [
    "DEFAULT_STOMP_OUTGOING_HEARTBEAT",
    "DEFAULT_STOMP_INCOMING_HEARTBEAT",
];

#[test]
fn no_setting_of_django_is_missing() {
    let Some(python) = python() else { return };
    let script = "\
from django.conf import settings
settings.configure()
from django_outbox_pattern import settings
for name in dir(settings):
    if name.isupper() and name != 'DJANGO_OUTBOX_PATTERN':
        value = getattr(settings, name)
        if isinstance(value, dict):
            value = ', '.join(f'{key}:{text}' for key, text in value.items())
        print(name, value, sep='\\t')";
    let output = Command::new(python).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, table) = document
        .split_once("## The settings of django-outbox-pattern")
        .unwrap();
    let cell = |line: &str, number: usize| {
        let cell = line.split('|').nth(number).unwrap();
        cell.trim().trim_matches('`').replace('"', "'")
    };
    let documented: Vec<(String, String)> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| (cell(line, 1), cell(line, 2)))
        .filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()))
        .collect();
    let mut theirs: Vec<(String, String)> = printed
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut sorted = documented;
    sorted.sort();
    theirs.sort();
    assert_eq!(sorted, theirs);
}
