//! Where the messages of rows go that wait or were sent lately: RabbitMQ confirms and drops a message that no queue is bound for.

use std::collections::HashMap;

use serde::Deserialize;

use super::check::{Check, Verdict, counted};
use super::management::{Management, ManagementError};
use super::report::Report;
use crate::backend::inspection::{READ_SENT_ROWS, UsedDestination};
use crate::broker::Broker;
use crate::broker::destination::{Destination, decoded};

pub(super) const NAME: &str = "broker.route";

/// The exchange of `/topic/…` on RabbitMQ.
pub(super) const TOPICS: &str = "amq.topic";
/// Maximum number of destinations that are checked.
const MOST: usize = 200;
/// Destinations that one line lists.
const LISTED: usize = 10;

/// A binding as the management API shows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Binding {
    #[serde(default)]
    pub(super) source: String,
    pub(super) routing_key: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ExchangeObject {
    #[serde(rename = "type")]
    kind: String,
}

/// An exchange and what is bound to it.
struct Exchange {
    kind: String,
    bindings: Vec<Binding>,
}

pub(super) async fn check(
    broker: Broker,
    management: Option<&Management>,
    used: Option<&[UsedDestination]>,
    report: &mut Report,
) {
    let Some(used) = used else {
        return;
    };
    if used.is_empty() {
        return report.push(Check::ok(
            NAME,
            "no row waits or was sent, so there is no destination to check",
        ));
    }
    let (known, unknown): (Vec<_>, Vec<_>) = used
        .iter()
        .partition(|one| broker.quirks().knows(Destination::parse(&one.destination)));
    for one in unknown {
        let quirks = broker.quirks();
        let check = Check::error(
            NAME,
            format_args!(
                "{}, and {} does not know such a destination",
                rows(one),
                quirks.name()
            ),
            format_args!(
                "destinations are {}; cancel these rows",
                quirks.accepted_destinations()
            ),
        );
        report.push(check.about(&one.destination));
    }
    let Some(management) = management else {
        return report.push(untold(broker, &known));
    };
    let mut exchanges = HashMap::new();
    for one in known.iter().take(MOST) {
        let check = match of(one, management, &mut exchanges).await {
            Ok(check) => check,
            Err(error) => Check::unknown(
                NAME,
                error,
                "give the user of the management API the right to read this virtual host",
            ),
        };
        // What was sent to a good destination is no news.
        if one.waiting > 0 || check.verdict == Verdict::Error {
            report.push(check.about(&one.destination));
        }
    }
    if known.len() > MOST {
        report.push(Check::unknown(
            NAME,
            format_args!("{} more destinations", known.len() - MOST),
            "run this again when fewer rows wait",
        ));
    }
}

/// What no STOMP frame shows.
fn untold(broker: Broker, known: &[&UsedDestination]) -> Check {
    let drops = |one: &&&UsedDestination| {
        one.waiting > 0 && !matches!(Destination::parse(&one.destination), Destination::Queue(_))
    };
    let all: Vec<&str> = known
        .iter()
        .filter(drops)
        .map(|one| one.destination.as_str())
        .collect();
    if all.is_empty() {
        return Check::ok(
            NAME,
            "waiting rows name queues only, which the broker creates",
        );
    }
    let mut list = all
        .iter()
        .take(LISTED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if all.len() > LISTED {
        list.push_str(&format!(" and {} more", all.len() - LISTED));
    }
    Check::unknown(
        NAME,
        format_args!("STOMP does not show which queues are bound for {list}"),
        match broker.has_management_api() {
            true => {
                "compare with `rabbitmqctl list_bindings source_name routing_key destination_name`: messages \
                 without a queue are dropped"
            }
            false => {
                "look for a subscriber of each in the broker's console: messages without one are dropped"
            }
        },
    )
}

/// The rows of a destination, in words.
fn rows(one: &UsedDestination) -> String {
    let waiting = (one.waiting > 0).then(|| counted(one.waiting, "waiting row"));
    let sent = (one.sent > 0 && one.waiting == 0)
        .then(|| format!("{} of the last {READ_SENT_ROWS} sent rows", one.sent));
    waiting.or(sent).unwrap_or_default()
}

async fn of(
    one: &UsedDestination,
    management: &Management,
    exchanges: &mut HashMap<String, Option<Exchange>>,
) -> Result<Check, ManagementError> {
    let rows = rows(one);
    let (exchange, key) = match Destination::parse(&one.destination) {
        Destination::Topic(name) => (TOPICS.to_owned(), decoded(name)),
        Destination::Exchange(name, key) => (decoded(name), decoded(key.unwrap_or_default())),
        Destination::Queue(name) => return to_queue(&rows, &decoded(name), management).await,
        Destination::ExistingQueue(name) => {
            let name = decoded(name);
            let found = management.queue(&name).await?;
            return Ok(match found {
                Some(_) => Check::ok(NAME, format_args!("{rows}, the queue exists")),
                None => Check::error(
                    NAME,
                    format_args!(
                        "{rows}, and the queue does not exist: the broker drops such messages"
                    ),
                    "start its subscriber once before the relay, or pause these rows' stream until then",
                ),
            });
        }
        // Checked before.
        Destination::Unknown => return Ok(Check::ok(NAME, "unknown")),
    };
    if !exchanges.contains_key(&exchange) {
        let found = read(management, &exchange).await?;
        exchanges.insert(exchange.clone(), found);
    }
    let Some(found) = exchanges.get(&exchange).and_then(Option::as_ref) else {
        return Ok(Check::error(
            NAME,
            format_args!(
                "{rows}, and there is no exchange {exchange}: the broker refuses such messages"
            ),
            "create the exchange, or correct the destination",
        ));
    };
    Ok(match found.bound(&key) {
        Some(0) => Check::error(
            NAME,
            format_args!(
                "{rows}, and no queue is bound: the broker confirms and drops such messages"
            ),
            "start each subscriber of it once before the relay; it binds its queue",
        ),
        Some(bound) => Check::ok(NAME, format_args!("{rows}, {}", counted(bound, "binding"))),
        None => Check::unknown(
            NAME,
            format_args!(
                "an exchange of the type {} routes by other rules",
                found.kind
            ),
            "check the bindings in RabbitMQ's console",
        ),
    })
}

/// A SEND to `/queue/NAME` declares the queue without arguments.
async fn to_queue(
    rows: &str,
    name: &str,
    management: &Management,
) -> Result<Check, ManagementError> {
    let Some(found) = management.queue(name).await? else {
        return Ok(Check::ok(
            NAME,
            format_args!("{rows}, the broker creates the queue"),
        ));
    };
    let differences = found.differences(&[("durable", "true"), ("auto-delete", "false")]);
    Ok(match differences.as_slice() {
        [] => Check::ok(NAME, format_args!("{rows}, the queue exists")),
        all => Check::error(
            NAME,
            format_args!(
                "{rows}, and the broker refuses such messages, because the queue has other arguments than a \
                 SEND to it: {}",
                all.join(", ")
            ),
            format_args!("send to /amq/queue/{name} instead"),
        ),
    })
}

async fn read(management: &Management, name: &str) -> Result<Option<Exchange>, ManagementError> {
    let Some(ExchangeObject { kind }) = management.object("exchanges", name, "").await? else {
        return Ok(None);
    };
    let bindings = management
        .object("exchanges", name, "/bindings/source")
        .await?;
    Ok(Some(Exchange {
        kind,
        bindings: bindings.unwrap_or_default(),
    }))
}

impl Exchange {
    /// The number of bindings that a message with this key passes; `None` if the key does not decide.
    fn bound(&self, key: &str) -> Option<usize> {
        let passes = |binding: &&Binding| match self.kind.as_str() {
            "topic" => Destination::Exchange(TOPICS, Some(&binding.routing_key))
                .overlaps(Destination::Topic(key)),
            "direct" => binding.routing_key == key,
            _ => true,
        };
        let is_known = matches!(self.kind.as_str(), "topic" | "direct" | "fanout");
        // Without any binding nothing is routed, whatever the rules are.
        (is_known || self.bindings.is_empty()).then(|| self.bindings.iter().filter(passes).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_passes_the_bindings_of_its_exchange() {
        let exchange = |kind: &str, keys: &[&str]| Exchange {
            kind: kind.to_owned(),
            bindings: keys
                .iter()
                .map(|key| Binding {
                    source: "e".to_owned(),
                    routing_key: (*key).to_owned(),
                })
                .collect(),
        };
        let topics = exchange("topic", &["orders.*", "#", "mail"]);
        assert_eq!(topics.bound("orders.v1"), Some(2));
        assert_eq!(topics.bound("orders.v1.eu"), Some(1));
        assert_eq!(exchange("topic", &["mail"]).bound("orders"), Some(0));
        assert_eq!(
            exchange("direct", &["orders.*"]).bound("orders.v1"),
            Some(0)
        );
        assert_eq!(exchange("direct", &["a", "a"]).bound("a"), Some(2));
        assert_eq!(exchange("fanout", &[""]).bound("a"), Some(1));
        assert_eq!(exchange("headers", &[""]).bound("a"), None);
        assert_eq!(exchange("headers", &[]).bound("a"), Some(0));
    }
}
