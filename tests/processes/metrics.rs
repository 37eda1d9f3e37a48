//! Metrics and health of the programs.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel_outbox::metrics::{BUCKETS, Emitter, Kind, OTHER, SERIES};

use super::World;
use super::program::{Program, wait_until};
use super::support::http::{Answer, get, request};

const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
const LISTEN: &str = "--metrics-listen=127.0.0.1:0";

/// Each series of an emitter exists, with all values of labels that are known.
fn all_exist(scraped: &Answer, emitter: Emitter) {
    for series in SERIES.iter().filter(|it| it.by.contains(&emitter)) {
        let help = format!("# HELP {} {}", series.name, series.help);
        assert!(scraped.body.contains(&help), "{help}");
        let kind = format!("{:?}", series.kind).to_lowercase();
        let kind = format!("# TYPE {} {kind}\n", series.name);
        assert!(scraped.body.contains(&kind), "{kind}");
        let suffix = match series.kind {
            Kind::Histogram => "_count",
            _ => "",
        };
        for label in series.labels {
            for value in label.values {
                let begins = format!("{}{suffix}{{", series.name);
                let with = format!("{}=\"{value}\"", label.name);
                let mut lines = scraped.body.lines();
                let found = lines.any(|line| line.starts_with(&begins) && line.contains(&with));
                assert!(found, "{begins}{with}");
            }
        }
    }
}

#[test]
fn a_relay_shows_its_series_and_its_health() {
    let Some(world) = World::new() else { return };
    world.write(40);
    let topic = world.topic();
    world
        .connect()
        .batch_execute(&format!(
            "update published set destination = '/nonsense/x', key = 'k' where seq = 1;
             update published set key = 'k' where seq = 2;
             update published set expires_at = '2001-01-01' where seq = 3;
             update published set due_at = '8000-01-01' where seq = 4;
             update published set stream = 'late' where seq = 5;
             insert into outbox_streams (name, paused) values ('late', true);
             update published set lease_token = id where seq = 6;
             update published set status = 2, sent_at = '2001-01-01', added = '2001-01-01' where seq = 7;
             update published set added = clock_timestamp() - interval '1 hour' where destination = '{topic}' and seq = 8"
        ))
        .unwrap();
    let flags = [LISTEN, "--retry-attempts=1"];
    let mut relay = Program::start(&world, PUBLISH, &flags);
    let address = relay.metrics_address();
    all_exist(&get(&address, "/metrics"), Emitter::Relay);
    let published = format!("outbox_published_total{{destination=\"{topic}\"}}");
    let expected = [
        (
            "outbox_parked_total{destination=\"/nonsense/x\",reason=\"exhausted\"}",
            1.0,
        ),
        ("outbox_expired_total", 1.0),
        ("outbox_reclaimed_total", 1.0),
        ("outbox_lease_lost_total", 0.0),
        ("outbox_cleaned_total{table=\"published\"}", 1.0),
        ("outbox_rows{state=\"due\"}", 1.0),
        ("outbox_rows{state=\"delayed\"}", 1.0),
        ("outbox_rows{state=\"leased\"}", 0.0),
        ("outbox_rows{state=\"parked\"}", 1.0),
        ("outbox_rows{state=\"expired\"}", 1.0),
        ("outbox_oldest_pending_age_seconds{stream=\"\"}", 0.0),
        ("outbox_oldest_pending_age_seconds{stream=\"late\"}", 0.0),
        ("outbox_stream_paused{stream=\"late\"}", 1.0),
        ("outbox_stream_paused{stream=\"\"}", 0.0),
        ("outbox_in_flight", 0.0),
        ("outbox_delivery_lag_seconds_count", 34.0),
        ("outbox_delivery_lag_seconds_bucket{le=\"300\"}", 33.0),
        ("outbox_confirm_duration_seconds_count", 34.0),
        ("outbox_rows{state=\"blocked\"}", 1.0),
        (published.as_str(), 34.0),
    ];
    let mut scraped = get(&address, "/metrics");
    // The rows are counted once a second: the counters may be further on. A limit, so that a wrong value is named below.
    let patience = Instant::now() + Duration::from_secs(20);
    let is_met = |scraped: &Answer| {
        let mut series = expected.iter();
        series.all(|(series, value)| scraped.value(series) == Some(*value))
    };
    while !is_met(&scraped) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
        scraped = get(&address, "/metrics");
    }
    for (series, value) in expected {
        assert_eq!(
            scraped.value(series),
            Some(value),
            "{series}: {}",
            scraped.body
        );
    }
    // RabbitMQ may close the connection after its ERROR before the row's receipt is refused.
    let failed = ["refused", "connection_closed"].map(|reason| {
        let series =
            format!("outbox_failed_total{{destination=\"/nonsense/x\",reason=\"{reason}\"}}");
        scraped.value(&series).unwrap()
    });
    assert_eq!(failed.iter().sum::<f64>(), 1.0, "{failed:?}");
    assert!(
        scraped
            .value("outbox_claim_duration_seconds_count")
            .unwrap()
            > 0.0
    );
    for bucket in BUCKETS {
        let series = format!("outbox_claim_duration_seconds_bucket{{le=\"{bucket}\"}}");
        assert!(scraped.value(&series).is_some(), "{series}");
    }
    let other = format!("outbox_published_total{{destination=\"{OTHER}\"}}");
    assert_eq!(scraped.value(&other), Some(0.0));
    assert!(
        scraped
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    // OpenMetrics for who accepts it.
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.3\r\n";
    let open = request(
        &address,
        &format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{accept}"),
    );
    assert!(
        open.head
            .contains("content-type: application/openmetrics-text")
    );
    assert!(open.body.contains("# TYPE outbox_published counter\n"));
    assert!(open.body.ends_with("\n# EOF\n"));
    assert_eq!(open.value(&published), Some(34.0));
    // Health, and mistakes.
    let live = get(&address, "/health/live");
    assert_eq!((live.status, live.body.as_str()), (200, "live\n"));
    let ready = get(&address, "/health/ready");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    assert_eq!(get(&address, "/").status, 404);
    let post = "POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n";
    assert_eq!(request(&address, post).status, 405);
    // A table is missing: not ready, and alive.
    world
        .connect()
        .batch_execute("alter table outbox_deliveries rename to elsewhere")
        .unwrap();
    wait_until("it is not ready", || {
        let ready = get(&address, "/health/ready");
        ready.status == 503 && ready.body == "database: the tables are missing or out of date\n"
    });
    assert_eq!(get(&address, "/health/live").status, 200);
    relay.signal("TERM");
    assert_eq!(relay.ended().code(), Some(0));
}

#[test]
fn without_a_broker_a_relay_is_alive_and_not_ready() {
    let Some(world) = World::new() else { return };
    let flags = [LISTEN, "--stomp-url=stomp://127.0.0.1:1/"];
    let mut relay = Program::start(&world, PUBLISH, &flags);
    let address = relay.metrics_address();
    relay.wait_for_line("not");
    let ready = get(&address, "/health/ready");
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (503, "relay: not connected to the broker\n")
    );
    assert_eq!(get(&address, "/health/live").status, 200);
    // Without a database it serves what it has.
    let flags = [
        LISTEN,
        "--database-url=postgres://nobody:hunter2@127.0.0.1:1/x",
        "--database-timeout=100ms",
    ];
    let mut relay = Program::start(&world, PUBLISH, &flags);
    let address = relay.metrics_address();
    let scraped = get(&address, "/metrics");
    all_exist(&scraped, Emitter::Relay);
    let ready = get(&address, "/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("database: no"), "{}", ready.body);
    assert!(!ready.body.contains("hunter2") && !scraped.body.contains("hunter2"));
    assert_eq!(get(&address, "/health/live").status, 200);
    let errors = "outbox_database_errors_total{kind=\"connection\"}";
    wait_until("the errors are counted", || {
        get(&address, "/metrics").value(errors).unwrap() > 0.0
    });
}

#[test]
fn an_open_circuit_is_shown_and_changes_no_readiness() {
    let Some(world) = World::new() else { return };
    world.write(3);
    let poison = "update published set destination = '/nonsense/x' where seq < 3";
    world.connect().batch_execute(poison).unwrap();
    let flags = [LISTEN, "--breaker-failures=1", "--breaker-pause=1h"];
    let mut relay = Program::start(&world, PUBLISH, &flags);
    let address = relay.metrics_address();
    wait_until("the circuit is open", || {
        let ready = get(&address, "/health/ready");
        ready.status == 200 && ready.body == "ready\ncircuit open: /nonsense/x\n"
    });
    let open = "outbox_circuit_open{destination=\"/nonsense/x\"}";
    assert_eq!(get(&address, "/metrics").value(open), Some(1.0));
    assert_eq!(get(&address, "/health/live").body, "live\n");
}

#[test]
fn a_subscriber_counts_what_it_handles() {
    let Some(world) = World::new() else { return };
    let callback = "exec:/bin/false";
    let destination = world.topic();
    let publish = || {
        let mut relay = Program::start(&world, PUBLISH, &["--once"]);
        assert_eq!(relay.ended().code(), Some(0), "{:?}", relay.lines());
    };
    let flags = ["store", &destination, &world.name, LISTEN];
    let mut subscriber = Program::start(&world, SUBSCRIBE, &flags);
    let address = subscriber.metrics_address();
    all_exist(&get(&address, "/metrics"), Emitter::Subscriber);
    subscriber.wait_for_line(" subscribed");
    world
        .connect()
        .batch_execute(&format!(
            "insert into published (id, destination, body, headers) values
             (gen_random_uuid(), '{destination}', '1', jsonb_build_object(
                 'dop-msg-id', 'a', 'dop-msg-sent-time',
                 to_char((now() - interval '2 s') at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00')),
             (gen_random_uuid(), '{destination}', '2', '{{\"dop-msg-id\": \"a\"}}'),
             (gen_random_uuid(), '{destination}', '3', '{{\"dop-msg-id\": \"b\"}}')"
        ))
        .unwrap();
    publish();
    let of = |name: &str| format!("outbox_inbox_{name}{{callback=\"store\"}}");
    let mut scraped = get(&address, "/metrics");
    wait_until("all are handled", || {
        scraped = get(&address, "/metrics");
        scraped.value(&of("duplicates_total")) == Some(1.0)
            && scraped.value(&of("handled_seconds_count")) == Some(2.0)
    });
    assert_eq!(scraped.value(&of("received_total")), Some(3.0));
    // The relay adds the header where it is missing.
    assert_eq!(scraped.value(&of("lag_seconds_count")), Some(2.0));
    assert!(scraped.value(&of("lag_seconds_sum")).unwrap() >= 2.0);
    assert_eq!(get(&address, "/health/ready").status, 200);
    assert_eq!(get(&address, "/health/live").status, 200);
    let due = scraped.value("outbox_rows{state=\"due\"}");
    assert!(due.is_none(), "those of a relay");
    subscriber.signal("TERM");
    assert_eq!(subscriber.ended().code(), Some(0));
    // A callback that fails.
    world.forget();
    let flags = [
        callback,
        &destination,
        &world.name,
        LISTEN,
        "--callback-attempts=1",
    ];
    let mut subscriber = Program::start(&world, SUBSCRIBE, &flags);
    let address = subscriber.metrics_address();
    let dead =
        format!("outbox_inbox_dead_lettered_total{{callback=\"{callback}\",reason=\"failed\"}}");
    assert_eq!(get(&address, "/metrics").value(&dead), Some(0.0));
    subscriber.wait_for_line(" subscribed");
    world
        .connect()
        .batch_execute("update published set status = 1 where seq = 3")
        .unwrap();
    publish();
    wait_until("it is dead", || {
        get(&address, "/metrics").value(&dead) == Some(1.0)
    });
}

#[test]
fn an_address_that_cannot_be_used_ends_a_program() {
    let Some(world) = World::new() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases = [
        (
            taken.as_str(),
            format!("cannot listen at metrics_listen = {taken}: "),
        ),
        (
            "192.0.2.1:9464",
            "cannot listen at metrics_listen = 192.0.2.1:9464: ".to_owned(),
        ),
        (
            "9464",
            "is not an IP address and a port, such as 127.0.0.1:9464".to_owned(),
        ),
        (
            "localhost:9464",
            "is not an IP address and a port".to_owned(),
        ),
    ];
    for (address, reason) in cases {
        for (program, first) in [(PUBLISH, vec![]), (SUBSCRIBE, vec!["log", "/queue/x"])] {
            let mut arguments = first;
            arguments.extend(["--metrics-listen", address]);
            let mut program = Program::start(&world, program, &arguments);
            assert_eq!(program.ended().code(), Some(2), "{address}");
            let lines = program.lines().join("\n");
            assert!(lines.contains(&reason), "{lines}");
        }
    }
}
