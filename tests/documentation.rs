//! The links, the paths and the commands in the Markdown pages are right.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "documentation/deployment.rs"]
mod deployment;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(feature = "sqlite")]
use std::process::Command;

use diesel_outbox::metrics::{Emitter, SERIES};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages at the top and those in `docs`.
fn pages() -> Vec<PathBuf> {
    let pages: Vec<PathBuf> = [root().to_owned(), root().join("docs")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The text of a page without its blocks of code.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("\n```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub and rustdoc make them.
fn anchors(path: &Path) -> HashSet<String> {
    let text = prose(path);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter_map(|character| match character {
                ' ' => Some('-'),
                _ if character.is_alphanumeric() || "-_".contains(character) => Some(character),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

/// What stands between `start` and `end`, each time.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts
        .filter_map(|part| part.split_once(end).map(|(found, _)| found))
        .collect()
}

/// The targets of the links of a page: `[text](target)` and `[label]: target`.
fn targets(text: &str) -> Vec<&str> {
    let mut all = between(text, "](", ")");
    all.extend(
        text.lines()
            .filter(|line| line.starts_with('['))
            .filter_map(|line| line.split_once("]: "))
            .map(|(_, target)| target),
    );
    all
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = prose(&page);
        let all = targets(&text);
        for target in all.iter().filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => page.clone(),
                _ => page.parent().unwrap().join(file),
            };
            let is_there = path.exists() && (anchor.is_empty() || anchors(&path).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
        // A reference without a definition is shown as text, with its brackets.
        for label in between(&text, "[", "]") {
            let is_page = label.contains(".md") && !label.contains(['`', ' ', '/']);
            let has = |next: &str| text.contains(&format!("[{label}]{next}"));
            if is_page && !has("(") && !has("[") && !has(": ") {
                broken.push(format!("{}: [{label}] has no definition", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_tests_that_show_a_promise_exist() {
    let text = prose(&root().join("docs/guarantees.md"));
    let (_, table) = text.split_once("## Shown by").unwrap();
    let named = table.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = named
        .filter(|name| name.starts_with("tests/") || name.starts_with("src/"))
        .collect();
    assert!(paths.len() > 40, "{paths:?}");
    let missing: Vec<&&str> = paths
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The file of a test, and the name of its function: `calls::order::x` is the function `x` in `tests/calls/order.rs`,
/// and `src::a::x` the one in `src/a.rs`.
fn test_of(name: &str) -> (PathBuf, &str) {
    let (file, function) = name.rsplit_once("::").unwrap_or(("", name));
    let file = file.replace("::", "/");
    let folder = if file.starts_with("src/") {
        ""
    } else {
        "tests/"
    };
    (root().join(format!("{folder}{file}.rs")), function)
}

#[test]
fn the_tests_that_show_a_behaviour_of_django_jaiminho_exist() {
    let text = prose(&root().join("docs/from-django-jaiminho.md"));
    let (_, section) = text.split_once("## Its behaviours, and our tests").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    // Without the heading and the line below it.
    let rows: Vec<&str> = rows.skip(2).collect();
    assert!(rows.len() > 30, "{rows:#?}");
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let names: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        if cells.len() != 3 || names.is_empty() {
            wrong.push(format!("no test: {row}"));
        }
        for name in names {
            let (file, function) = test_of(name);
            let source = fs::read_to_string(&file).unwrap_or_default();
            let begins = ["(", "<"].map(|next| format!("fn {function}{next}"));
            if !begins.iter().any(|begin| source.contains(begin)) {
                wrong.push(format!("{name} is not in {}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_guide_in_rustdoc_knows_each_page_and_reference() {
    let guide = fs::read_to_string(root().join("src/guide.rs")).unwrap();
    let mut missing = Vec::new();
    for page in pages() {
        if page.parent().unwrap() != root().join("docs") {
            continue;
        }
        let name = page.file_name().unwrap().to_str().unwrap();
        if !guide.contains(&format!("\"{name}\",")) {
            missing.push(name.to_owned());
        }
        let text = prose(&page);
        let labels = text.lines().filter_map(|line| {
            let (label, _) = line.strip_prefix('[')?.split_once("]: ")?;
            Some(label)
        });
        for label in labels {
            if !guide.contains(&format!("[{label}]: crate::guide::")) {
                missing.push(format!("{name}: {label}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The table of `docs/metrics.md`.
fn series_table() -> String {
    let mut table = String::from(
        "| series | kind | labels | of | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for series in SERIES {
        let kind = format!("{:?}", series.kind).to_lowercase();
        let labels = series.labels.iter().map(|label| {
            let values: Vec<String> = label.values.iter().map(|it| format!("`{it}`")).collect();
            match label.is_open {
                true => format!("`{}`", label.name),
                false => format!("`{}`: {}", label.name, values.join(", ")),
            }
        });
        let labels: Vec<String> = labels.collect();
        let by = series.by.iter().map(|by| match by {
            Emitter::Relay => "`publish`",
            Emitter::Subscriber => "`subscribe`",
            Emitter::Executor => "`calls`",
            other => panic!("{other:?}"),
        });
        let by: Vec<&str> = by.collect();
        table.push_str(&format!(
            "| `{}` | {kind} | {} | {} | {} |\n",
            series.name,
            labels.join("; "),
            by.join(", "),
            series.help
        ));
    }
    table
}

/// `UPDATE=1 cargo test --test documentation` writes the table.
#[test]
fn the_page_of_metrics_lists_each_series() {
    let path = root().join("docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (start, rest) = page.split_once("\n| series |").unwrap();
    let (_, end) = rest.split_once("\n\n").unwrap();
    let written = format!("{start}\n{}\n{end}", series_table());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    assert!(
        page == written,
        "docs/metrics.md differs from the table of series: run with UPDATE=1"
    );
}

/// The names of series in a text, without the suffixes of a histogram.
fn series_in(text: &str) -> HashSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("outbox_"));
    names
        .map(|name| {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            base.unwrap_or(name).to_owned()
        })
        .collect()
}

#[test]
fn alerts_and_dashboard_name_series_and_labels_that_exist() {
    let alerts = fs::read_to_string(root().join("docs/monitoring/alerts.yaml")).unwrap();
    let dashboard = fs::read_to_string(root().join("docs/monitoring/dashboard.json")).unwrap();
    let known: HashSet<String> = SERIES.iter().map(|it| it.name.to_owned()).collect();
    for text in [&alerts, &dashboard] {
        let named = series_in(text);
        let unknown: Vec<&String> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    let missing: Vec<String> = known.difference(&series_in(&dashboard)).cloned().collect();
    assert!(missing.is_empty(), "not in the dashboard: {missing:?}");
    // Labels that are selected or grouped by are those of the series in the same expression.
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut expressions: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    let rules = alerts.split("- alert: ").skip(1);
    expressions.extend(rules.map(|rule| {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        rest.split("labels:").next().unwrap().to_owned()
    }));
    assert!(expressions.len() > 30);
    for expression in expressions {
        let mut labels = HashSet::from(["le", "instance"]);
        for series in SERIES
            .iter()
            .filter(|it| series_in(&expression).contains(it.name))
        {
            labels.extend(series.labels.iter().map(|label| label.name));
        }
        let groups = between(&expression, "by (", ")");
        let grouped = groups.iter().flat_map(|group| group.split(", "));
        let selectors = between(&expression, "{", "}");
        let selected = selectors
            .iter()
            .map(|it| it.split(['=', '!']).next().unwrap());
        for label in grouped.chain(selected) {
            assert!(labels.contains(label), "no label {label}: {expression}");
        }
    }
}

#[test]
fn the_page_of_metrics_explains_each_alert() {
    let alerts = fs::read_to_string(root().join("docs/monitoring/alerts.yaml")).unwrap();
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rules = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let rules: HashSet<&str> = rules.collect();
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `Outbox"));
    let explained: HashSet<String> = rows
        .map(|row| format!("Outbox{}", row.split('`').next().unwrap()))
        .collect();
    assert!(rules.len() > 10);
    assert_eq!(rules, explained.iter().map(String::as_str).collect());
}

#[test]
fn the_runbook_has_a_section_for_each_alert() {
    let alerts = fs::read_to_string(root().join("docs/monitoring/alerts.yaml")).unwrap();
    let sections = anchors(&root().join("docs/operations.md"));
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let (name, rest) = rule.split_once('\n').unwrap();
        let section = name.to_lowercase();
        assert!(sections.contains(&section), "no section {name}");
        let annotation = format!("\n          runbook: docs/operations.md#{section}\n");
        assert!(rest.contains(&annotation), "no annotation {annotation:?}");
    }
}

/// Commands of `outbox` in the blocks of shell commands, without what they are piped into.
fn commands() -> Vec<String> {
    let pages = pages()
        .into_iter()
        .map(|page| fs::read_to_string(page).unwrap());
    let pages: Vec<String> = pages.collect();
    let blocks = pages
        .iter()
        .flat_map(|page| between(page, "```sh\n", "```"));
    let lines = blocks.flat_map(str::lines).map(str::trim);
    let commands = lines.filter(|line| line.starts_with("outbox "));
    commands
        .map(|line| line.split(" | ").next().unwrap())
        // Ids are shortened in some pages.
        .map(|line| line.replace("0192f0aa-…", "0192f0aa-0000-7000-8000-000000000001"))
        .collect()
}

/// They may fail, because there is no broker and there are no rows. Wrong arguments have the exit code 2.
#[cfg(feature = "sqlite")]
#[test]
fn the_commands_in_the_pages_are_understood() {
    let commands = commands();
    assert!(commands.len() > 40, "{commands:#?}");
    let database = outbox_test_support::sqlite::<diesel::SqliteConnection>();
    let program = Path::new(env!("CARGO_BIN_EXE_outbox"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    // Commands may write files.
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    fs::write(&password, "a password\n").unwrap();
    let run = |command: &str| {
        // It runs until it is stopped.
        let is_server = command.starts_with("outbox web");
        let command = format!("{command}{}", if is_server { " --help" } else { "" });
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .current_dir(&directory)
            .env("PATH", &path)
            .env("DATABASE_URL", &database.url)
            .env("STOMP_URL", "stomp://127.0.0.1:1/")
            .stdin(fs::File::open(&password).unwrap());
        shell.output().unwrap()
    };
    assert!(run("outbox migrate").status.success());
    for command in commands {
        let output = run(&command);
        let said = String::from_utf8_lossy(&output.stderr);
        let is_understood = matches!(output.status.code(), Some(0 | 1));
        assert!(is_understood, "{command}: {said}");
    }
}
