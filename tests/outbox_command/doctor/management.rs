//! Queues and bindings on RabbitMQ with its management API.

use std::process::{Command, Stdio};

use diesel::PgConnection;
use diesel::connection::{Connection, SimpleConnection};
use diesel_outbox::migrations::Migrate;

use super::Doctor;
use crate::support::amqp::Publisher;
use crate::support::program::{Program, wait_until};
use crate::support::virtual_host::VirtualHost;
use crate::support::{self, TestDatabase};

/// A database, RabbitMQ with its management API, and a name that no other test uses.
struct World {
    database: TestDatabase,
    broker: String,
    management: String,
    name: String,
}

impl World {
    fn new() -> Option<Self> {
        let broker = support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ")?;
        let management = support::server(
            "OUTBOX_TEST_RABBITMQ_MANAGEMENT",
            "RabbitMQ's management API",
        )?;
        let database = support::postgres::<PgConnection>()?;
        let mut conn = PgConnection::establish(&database.url).unwrap();
        conn.migrate().unwrap();
        Some(Self {
            database,
            broker,
            management,
            name: format!("outbox-test-{}", uuid::Uuid::new_v4().simple()),
        })
    }

    fn doctor(&self) -> Doctor<'_> {
        Doctor::of(&self.database.url, &self.broker).set("OUTBOX_MANAGEMENT_URL", &self.management)
    }

    /// Leaves one waiting row to this destination.
    fn write(&self, destination: &str) {
        let mut conn = PgConnection::establish(&self.database.url).unwrap();
        conn.batch_execute(&format!(
            "delete from published;
             insert into published (id, destination, body)
                 values (gen_random_uuid(), '{destination}', '{{}}')"
        ))
        .unwrap();
    }

    fn mark_as_sent(&self) {
        let mut conn = PgConnection::establish(&self.database.url).unwrap();
        conn.batch_execute("update published set status = 2, sent_at = now()")
            .unwrap();
    }

    /// A subscriber of the topic that is called like the queue.
    fn subscribe(&self) -> Program {
        self.subscribe_with(&[])
    }

    fn subscribe_with(&self, variables: &[(&str, &str)]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_subscribe"));
        command
            .args(["store", &format!("/topic/{}", self.name), &self.name])
            .env("DATABASE_URL", &self.database.url)
            .env("STOMP_URL", &self.broker)
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        let mut subscriber = Program::spawn(&mut command);
        subscriber.wait_for_line("subscribed");
        subscriber
    }

    /// Starts and stops a subscriber with these settings, so that its queues exist.
    fn declare(&self, variables: &[(&str, &str)]) {
        let mut subscriber = self.subscribe_with(variables);
        subscriber.signal("TERM");
        assert!(subscriber.ended().success());
    }

    fn delete(&self, queue: &str) {
        let mut publisher = Publisher::connect(&self.broker);
        publisher.delete(queue);
        publisher.close();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.delete(&self.name);
        self.delete(&format!("DLQ.{}", self.name));
    }
}

#[test]
fn queues_bindings_and_dead_letters_are_checked() {
    let Some(world) = World::new() else { return };
    let (name, topic) = (world.name.as_str(), format!("/topic/{}", world.name));
    world.write(&topic);
    let subscription = ["--subscription", &topic, name];
    // Before the subscriber has run for the first time.
    world
        .doctor()
        .with(&subscription)
        .run()
        .only(&["broker.route", "queue", "queue.dead_letters"])
        .has(
            "broker.route",
            "error",
            "no queue is bound: the broker confirms and drops such messages",
        )
        .has(
            "queue",
            "warning",
            "start `subscribe` once; it creates the queue, if the user of stomp_url has the right to configure it",
        )
        .has("queue.dead_letters", "warning", "does not exist");
    let mut subscriber = world.subscribe();
    world
        .doctor()
        .with(&subscription)
        .with(&["--strict"])
        .run()
        .only(&[])
        .has("broker.management", "ok", "answers")
        .has("broker.alarms", "ok", "none")
        .has("broker.route", "ok", "1 waiting row, 1 binding")
        .has("queue", "ok", "exists")
        .has(
            "queue.arguments",
            "ok",
            "those that `subscribe` would declare",
        )
        .has("queue.binding", "ok", &topic)
        .has("queue.prefetch", "ok", "2; ")
        .has("queue.dead_letters", "ok", "exists");
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());

    // Nothing was sent or taken, and each of these is one broken thing.
    let run = |variables: &[(&'static str, &'static str)]| {
        let doctor = variables
            .iter()
            .fold(world.doctor(), |doctor, (name, value)| {
                doctor.set(name, value)
            });
        doctor.with(&subscription).run()
    };
    run(&[("OUTBOX_QUEUE_HEADERS", "x-message-ttl:1000")])
        .only(&["queue.arguments"])
        .has(
            "queue.arguments",
            "error",
            "x-message-ttl is not set, ours 1000",
        )
        .has(
            "queue.arguments",
            "error",
            "when the queue is empty, delete it, and start `subscribe`",
        );
    run(&[("OUTBOX_DEAD_LETTER_HEADERS", "x-max-length:5")])
        .only(&["settings.subscription", "queue.dead_letters"])
        .has(
            "queue.dead_letters",
            "warning",
            "x-max-length is not set, ours 5",
        );
    world.write(&format!("/queue/{name}"));
    run(&[]).only(&["broker.route"]).has(
        "broker.route",
        "error",
        &format!("send to /amq/queue/{name} instead"),
    );
    world.write(&format!("/amq/queue/{name}"));
    run(&[]).only(&[]);
    world.write("/exchange/outbox-nowhere/key");
    run(&[]).only(&["broker.route"]).has(
        "broker.route",
        "error",
        "there is no exchange outbox-nowhere",
    );
    world.delete(&format!("DLQ.{name}"));
    world.write(&topic);
    run(&[]).only(&["queue.dead_letters"]).has(
        "queue.dead_letters",
        "error",
        "does not exist: the broker drops messages that it moves there",
    );
    world.delete(name);
    // A row that was sent to nobody.
    world.write(&topic);
    world.mark_as_sent();
    run(&[])
        .only(&["broker.route", "queue", "queue.dead_letters"])
        .has(
            "broker.route",
            "error",
            "1 of the last 1000 sent rows, and no queue is bound",
        );
    world.write(&format!("/amq/queue/{name}"));
    run(&[])
        .only(&["broker.route", "queue", "queue.dead_letters"])
        .has("broker.route", "error", "the queue does not exist");
}

/// In a virtual host whose queues are of this type unless they say another one, which RabbitMQ has from 3.11 on.
fn where_queues_are(queue_type: &str) -> Option<(VirtualHost, World)> {
    let host = VirtualHost::new(&format!("doctor-{}", uuid::Uuid::new_v4()), queue_type)?;
    let mut world = World::new()?;
    world.broker = format!("{}/{}", world.broker.trim_end_matches('/'), host.name);
    Some((host, world))
}

#[test]
fn the_default_type_of_queues_is_no_other_argument() {
    for queue_type in ["quorum", "classic"] {
        let Some((host, world)) = where_queues_are(queue_type) else {
            return;
        };
        let topic = format!("/topic/{}", world.name);
        let subscription = ["--subscription", &topic, &world.name];
        world.declare(&[]);
        let arguments = "those that `subscribe` would declare";
        let doctor = || world.doctor().with(&subscription);
        doctor()
            .with(&["--strict"])
            .run()
            .only(&[])
            .has("queue.arguments", "ok", arguments)
            .has("queue.dead_letters", "ok", "exists");
        // A type that the virtual host does not have by default is another argument.
        let found = host.queue(&world.name).unwrap();
        let expected: &[_] = match found["type"] == "quorum" {
            true => &[],
            false => &["queue.arguments", "queue.dead_letters"],
        };
        doctor()
            .set("OUTBOX_QUEUE_HEADERS", "x-queue-type:quorum")
            .run()
            .only(expected);
    }
}

/// RabbitMQ drops a dead letter that was read more often than a quorum queue allows.
#[test]
fn a_low_delivery_limit_of_dead_letters_is_a_warning() {
    let Some((host, world)) = where_queues_are("classic") else {
        return;
    };
    let topic = format!("/topic/{}", world.name);
    let quorum = ("OUTBOX_DEAD_LETTER_HEADERS", "x-queue-type:quorum");
    world.declare(&[quorum]);
    for (limit, expected) in [(9, "warning"), (20, "ok")] {
        let policy = format!(r#"{{"delivery-limit":{limit}}}"#);
        host.set_policy(&format!("DLQ.{}", world.name), &policy);
        wait_until("the policy applies", || {
            let queue = host.queue(&format!("DLQ.{}", world.name)).unwrap();
            queue["effective_policy_definition"]["delivery-limit"] == limit
        });
        let report = world
            .doctor()
            .with(&["--subscription", &topic, &world.name])
            .set(quorum.0, quorum.1)
            .run();
        let text = match expected {
            "warning" => "read more than 9 times",
            _ => "exists",
        };
        report.has("queue.dead_letters", expected, text);
    }
}

/// RabbitMQ keeps neither dead letters beyond such a limit nor an unused queue.
#[test]
fn a_policy_that_deletes_dead_letters_is_a_warning() {
    let Some((host, world)) = where_queues_are("classic") else {
        return;
    };
    let topic = format!("/topic/{}", world.name);
    let dead_letters = format!("DLQ.{}", world.name);
    world.declare(&[]);
    for (policy, expected) in [
        (
            r#"{"message-ttl":2000000}"#,
            Some("each after 2000000 ms (message-ttl)"),
        ),
        (
            r#"{"expires":3000000,"max-length":5}"#,
            Some(
                "the queue after 3000000 ms without use (expires), the oldest of more than 5 (max-length)",
            ),
        ),
        (
            r#"{"max-length-bytes":10000,"overflow":"drop-head"}"#,
            Some("the oldest of more than 10000 bytes (max-length-bytes)"),
        ),
        (r#"{"max-length":5,"overflow":"reject-publish"}"#, None),
    ] {
        host.set_policy(&dead_letters, policy);
        wait_until("the policy applies", || {
            let queue = host.queue(&dead_letters).unwrap();
            let expected: serde_json::Value = serde_json::from_str(policy).unwrap();
            queue["effective_policy_definition"] == expected
        });
        let report = world
            .doctor()
            .with(&["--subscription", &topic, &world.name])
            .run();
        match expected {
            Some(text) => report
                .only(&["queue.dead_letters"])
                .has("queue.dead_letters", "warning", text)
                .has("queue.dead_letters", "warning", &dead_letters),
            None => report.only(&[]),
        };
    }
}

#[test]
fn a_queue_that_is_a_stream_is_an_error() {
    let Some((host, world)) = where_queues_are("classic") else {
        return;
    };
    host.declare(&world.name, "stream");
    for arguments in [
        vec![format!("/amq/queue/{}", world.name)],
        vec![format!("/topic/{}", world.name), world.name.clone()],
    ] {
        let mut subscription = vec!["--subscription"];
        subscription.extend(arguments.iter().map(String::as_str));
        let report = world.doctor().with(&subscription).run();
        report
            .only(&["queue"])
            .has("queue", "error", "is a stream")
            .has("queue", "error", "`subscribe` refuses it");
        assert!(!report.out.contains("start `subscribe`"), "{report:?}");
    }
}

/// RabbitMQ 4.3 answers 404 for each queue and exchange of a virtual host that the user may not see.
#[test]
fn what_the_management_api_does_not_show_is_not_reported_as_missing() {
    let Some((mut host, world)) = where_queues_are("classic") else {
        return;
    };
    let user = world.name.clone();
    let of_user = host.add_user(&user);
    let topic = format!("/topic/{}", world.name);
    world.declare(&[]);
    world.write(&topic);
    let run = || {
        Doctor::of(&world.database.url, &world.broker)
            .set("OUTBOX_MANAGEMENT_URL", &of_user)
            .with(&["--subscription", &topic, &world.name])
            .run()
    };
    run()
        .only(&["broker.management", "broker.route", "queue"])
        .has(
            "broker.management",
            "warning",
            &format!("does not show the virtual host {}", host.name),
        )
        .has(
            "broker.management",
            "warning",
            &format!("rabbitmqctl set_permissions -p '{}' USER", host.name),
        )
        .has("broker.route", "warning", "rabbitmqctl list_bindings")
        .has("queue", "warning", "rabbitmqctl list_queues");
    host.show_to(&user);
    run()
        .only(&[])
        .has("broker.route", "ok", "1 waiting row, 1 binding")
        .has("queue.dead_letters", "ok", "exists");
}

/// What STOMP does not show is a warning that says how to look.
#[test]
fn without_the_management_api_it_says_what_to_look_at() {
    let Some(world) = World::new() else { return };
    let topic = format!("/topic/{}", world.name);
    world.write(&topic);
    let doctor = Doctor::of(&world.database.url, &world.broker)
        .set("OUTBOX_MANAGEMENT_URL", "http://127.0.0.1:1/")
        .with(&["--subscription", &topic, &world.name]);
    let report = doctor.run();
    report
        .only(&["broker.management", "broker.route", "queue"])
        .has(
            "broker.management",
            "warning",
            "`rabbitmq-plugins enable rabbitmq_management`",
        )
        .has(
            "broker.alarms",
            "ok",
            "none: the broker answers after a message",
        )
        .has("broker.route", "warning", "rabbitmqctl list_bindings")
        .has(
            "queue",
            "warning",
            &format!("there should be {0} and DLQ.{0}", world.name),
        );
    // No queue was created by looking.
    for queue in [world.name.clone(), format!("DLQ.{}", world.name)] {
        assert!(!Publisher::connect(&world.broker).has(&queue), "{queue}");
    }
}
