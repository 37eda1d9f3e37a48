//! A virtual host of RabbitMQ that may have no further queue or connection.

use std::time::Duration;

use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Permanent, Registry, Shutdown};

use crate::dead_letters::run;
use crate::faults::Running;
use crate::place::{Place, Subject, wait_until};
use crate::support::virtual_host::VirtualHost;

const MESSAGES: usize = 3;

fn fails<C: Subject>() -> Registry<C> {
    Registry::new().on(
        "it",
        |_: &mut C, _: &Payload| -> Result<Outcome, BoxError> {
            Err(Permanent::new("on purpose").into())
        },
    )
}

/// RabbitMQ drops what goes to a dead-letter queue that it could not declare, and sends the receipt.
pub(crate) fn messages_are_kept_if_the_dead_letter_queue_cannot_be_declared<C: Subject>(
    place: &Place,
) {
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let letters = format!("DLQ.{}", place.name);
    let mut conn = place.connect::<C>();
    for mode in ["outbox", "broker"] {
        let settings = place.settings().set("dead_letter", mode);
        let settings = settings.set("maximum_backoff", "1s").build().unwrap();
        let (consumer, log) = place.subscribe_logged(&fails::<C>(), &settings);
        wait_until("it has subscribed", || {
            log.count("subscribed destination=") == 1
        });
        host.delete_queue(&letters);
        host.limit("max-queues", Some(1));
        for n in 0..MESSAGES {
            Message::new(place.topic(), n).publish(&mut conn).unwrap();
        }
        assert_eq!(place.relay::<C>().sent, MESSAGES as u64);
        wait_until("it says why", || {
            log.text().contains("queue limit in vhost")
        });
        let text = log.text();
        assert!(text.contains("the message is kept"), "{mode}: {text}");
        assert!(text.contains("limit max-queues"), "{mode}: {text}");
        assert!(!text.contains("other arguments"), "{mode}: {text}");
        assert!(host.queue(&letters).is_none());

        // A new subscription ends at its start.
        let (registry, shutdown) = (fails::<C>(), Shutdown::new());
        let queue = Some(place.name.as_str());
        let subscriber = Subscriber::new(&settings, &registry, "it", &place.topic(), queue);
        let ended = place.runtime.block_on(subscriber.unwrap().run(&shutdown));
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("queue limit in vhost"), "{error}");

        host.limit("max-queues", None);
        let all = format!("{MESSAGES} listed of {MESSAGES}");
        wait_until("all are dead letters", || {
            run(place, "list", &[]).1.contains(&all)
        });
        assert_eq!(consumer.stop().dead, MESSAGES as u64, "{mode}");
    }
}

/// After a row at which RabbitMQ closes the connection, a second connection shows whether it works.
pub(crate) fn a_second_connection_that_is_refused_is_told<C: Subject>(place: &Place) {
    const ROWS: usize = 20;
    const WORDS: &str = "the broker refuses the second connection";
    let Some(host) = VirtualHost::new(&place.name, "classic") else {
        return;
    };
    let place = &place.in_virtual_host(&host.name);
    let mut conn = place.connect::<C>();
    for n in 0..ROWS {
        let message = Message::new(place.topic(), n);
        let message = match n == ROWS / 2 {
            // Only a user may be named who sends it.
            true => message.header("user-id", "nobody"),
            false => message,
        };
        message.publish(&mut conn).unwrap();
    }
    host.limit("max-connections", Some(1));
    let settings = place.settings().set("retry_attempts", 1);
    let (relay, log) = Running::logged::<C>(settings);
    wait_until("it says so", || log.count(WORDS) == 1);
    assert!(
        log.text().contains("how many connections"),
        "{}",
        log.text()
    );
    // It tries again each second.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(log.count(WORDS), 1, "it is said once");
    host.limit("max-connections", None);
    wait_until("all other rows are sent", || {
        let counts = place.counts::<C>();
        (counts.sent, counts.parked) == (ROWS as i64 - 1, 1)
    });
    relay.stop();
}
