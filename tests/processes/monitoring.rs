//! A real Prometheus scrapes the programs, and its tool reads what they serve.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use diesel_outbox::metrics::{Emitter, SERIES};
use serde_json::Value;

use super::World;
use super::program::{Program, wait_until};
use super::support::http::{get, request};
use super::support::server;

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const LISTEN: &str = "--metrics-listen=127.0.0.1:0";

/// A Prometheus of this test's own. It is killed when this is dropped.
struct Prometheus {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it with our alert rules; it scrapes these jobs.
    fn start(programs: &str, jobs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring/alerts.yaml");
        let mut config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{rules}']\nscrape_configs:\n"
        );
        for (job, address) in jobs {
            config +=
                &format!("- {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}\n");
        }
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        // Free a moment ago.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(PathBuf::from(programs).join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Self {
            process,
            address,
            _folder: folder,
        };
        wait_until("Prometheus is ready", || {
            TcpStream::connect(&prometheus.address).is_ok()
                && get(&prometheus.address, "/-/ready").status == 200
        });
        prometheus
    }

    /// The `data` of an answer of its API.
    fn ask(&self, path: &str) -> Value {
        // HTTP 1.0, so that the answer comes in one piece.
        let answer = request(&self.address, &format!("GET /api/v1/{path} HTTP/1.0\r\n"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let mut answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["data"].take()
    }

    /// The last value of a series, by name and labels.
    fn value(&self, series: &str) -> Option<f64> {
        let encoded: String = series.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.ask(&format!("query?query={encoded}"));
        found["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// The families of metrics that a job has.
    fn families(&self, job: &str) -> BTreeSet<String> {
        let target = format!("{{job=\"{job}\"}}");
        let encoded: String = target.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.ask(&format!("targets/metadata?match_target={encoded}"));
        let families = found.as_array().unwrap().iter();
        families
            .map(|family| family["metric"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `promtool check metrics` finds nothing to complain of.
fn check(programs: &str, text: &str) {
    let mut tool = Command::new(PathBuf::from(programs).join("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = tool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn prometheus_scrapes_a_relay_and_a_subscriber() {
    let Some(world) = World::new() else { return };
    let Some(programs) = server("OUTBOX_TEST_PROMETHEUS", "Prometheus") else {
        return;
    };
    let topic = world.topic();
    let flags = ["store", &topic, &world.name, LISTEN];
    let mut subscriber = Program::start(&world, SUBSCRIBE, &flags);
    let of_subscriber = subscriber.metrics_address();
    subscriber.wait_for_line(" subscribed");
    world.write(5);
    let mut relay = Program::start(&world, PUBLISH, &[LISTEN]);
    let of_relay = relay.metrics_address();
    let jobs = [
        ("publish", of_relay.as_str()),
        ("subscribe", of_subscriber.as_str()),
    ];
    let prometheus = Prometheus::start(&programs, &jobs);
    let published = format!("outbox_published_total{{job=\"publish\",destination=\"{topic}\"}}");
    let received = "outbox_inbox_received_total{job=\"subscribe\",callback=\"store\"}";
    wait_until("all is scraped", || {
        prometheus.value(&published) == Some(5.0) && prometheus.value(received) == Some(5.0)
    });
    for (job, emitter) in [
        ("publish", Emitter::Relay),
        ("subscribe", Emitter::Subscriber),
    ] {
        assert_eq!(prometheus.value(&format!("up{{job=\"{job}\"}}")), Some(1.0));
        let families = prometheus.families(job);
        for series in SERIES.iter().filter(|it| it.by.contains(&emitter)) {
            // In OpenMetrics the family of a counter has no suffix.
            let family = series.name.trim_end_matches("_total");
            assert!(
                families.contains(series.name) || families.contains(family),
                "{} in {families:?}",
                series.name
            );
        }
    }
    wait_until("the rules are evaluated", || {
        let groups = prometheus.ask("rules");
        let rules = groups["groups"][0]["rules"].as_array().unwrap();
        rules.len() == 12 && rules.iter().all(|rule| rule["health"] == "ok")
    });
    for (_, address) in jobs {
        check(&programs, &get(address, "/metrics").body);
    }
}
