//! The queues of subscriptions and their dead letters.

use serde_json::Value;

use super::check::{Check, Verdict, counted};
use super::management::{Management, ManagementError};
use super::queue_object::{DELIVERY_LIMIT, QueueObject, TYPE};
use super::report::Report;
use super::routes::{Binding, TOPICS};
use crate::broker::destination::{Destination, decoded};
use crate::broker::{Broker, Headers, dead_letter_queue};
use crate::config::{DeadLetter, SubscriptionConfig};
use crate::subscriber::{Queue, QueueError};

const QUEUE: &str = "queue";
const ARGUMENTS: &str = "queue.arguments";
const BINDING: &str = "queue.binding";
const PREFETCH: &str = "queue.prefetch";
const DEAD_LETTERS: &str = "queue.dead_letters";

/// RabbitMQ's default from 4.0 on, with which readings of dead letters lose none (`admin::dead_letters`).
const LOWEST_LIMIT: u64 = 20;

/// A subscription's queue and the settings that concern it.
#[derive(Debug, Clone)]
pub(super) struct Subscribed {
    pub(super) queue: Queue,
    pub(super) workers: usize,
    consumer: String,
    dead_letter: DeadLetter,
}

impl Subscribed {
    pub(super) fn new(subscription: &SubscriptionConfig) -> Result<Self, QueueError> {
        let config = &subscription.config;
        let name = subscription.queue.as_deref();
        Ok(Self {
            queue: Queue::of(config, &subscription.destination, name)?,
            workers: config.workers,
            consumer: config.consumer.clone(),
            dead_letter: config.dead_letter,
        })
    }

    /// Why one process cannot have both subscriptions.
    pub(super) fn conflict_with(&self, other: &Self) -> Option<QueueError> {
        self.queue
            .conflict_with(&self.consumer, &other.queue, &other.consumer)
    }
}

pub(super) async fn check(
    broker: Broker,
    management: Option<&Management>,
    queues: &[Subscribed],
    report: &mut Report,
) {
    for one in queues {
        let name = one.queue.name.as_str();
        let Some(management) = management else {
            report.push(untold(broker, one).about(name));
            continue;
        };
        if let Err(error) = with_management(broker, management, one, report).await {
            let advice = "give the user of the management API the right to read this virtual host";
            report.push(Check::unknown(QUEUE, error, advice).about(name));
        }
    }
}

/// What STOMP does not show without taking messages from the queue.
fn untold(broker: Broker, one: &Subscribed) -> Check {
    let needs_no_declaration = broker
        .quirks()
        .dead_letter_declaration(&one.queue.name)
        .is_none();
    if needs_no_declaration && one.queue.topic().is_none() {
        return Check::ok(QUEUE, "the broker creates queues when they are used");
    }
    Check::unknown(
        QUEUE,
        "STOMP does not show whether a queue exists without taking messages from it",
        match broker.has_management_api() {
            true => format!(
                "compare with `rabbitmqctl list_queues name durable arguments consumers`: there should be {} and {}",
                one.queue.name,
                dead_letter_queue(&one.queue.name)
            ),
            false => {
                "look for the queue or the durable subscriber in the broker's console".to_owned()
            }
        },
    )
}

async fn with_management(
    broker: Broker,
    management: &Management,
    one: &Subscribed,
    report: &mut Report,
) -> Result<(), ManagementError> {
    let name = one.queue.name.as_str();
    let is_existing = matches!(one.queue.kind(), Destination::ExistingQueue(_));
    let found: Option<QueueObject> = management.queue(name).await?;
    let mut has_our_arguments = true;
    let mut push = |check: Check| report.push(check.about(name));
    match &found {
        None if is_existing => push(Check::error(
            QUEUE,
            "does not exist, and `subscribe` does not create it for /amq/queue/…",
            "create it, or subscribe to /queue/… or to a topic",
        )),
        None => push(Check::warning(
            QUEUE,
            "does not exist: until it does, the broker drops what is sent to it",
            "start `subscribe` once; it creates the queue, if the user of stomp_url has the right to configure it",
        )),
        Some(found) if found.is_stream() => {
            // It has no dead letters.
            push(Check::error(
                QUEUE,
                QueueError::Stream(name.to_owned()),
                "change the subscription; `subscribe` refuses it",
            ));
            return Ok(());
        }
        Some(found) => {
            let messages = found.messages.map_or(String::new(), |messages| {
                format!(", {}", counted(messages, "message"))
            });
            push(Check::ok(
                QUEUE,
                format_args!(
                    "exists{messages}, {}",
                    counted(found.consumer_details.len(), "consumer")
                ),
            ));
            if !is_existing {
                let headers = one.queue.subscribe(broker).headers;
                let check = arguments(found, &headers);
                has_our_arguments = check.verdict == Verdict::Ok;
                push(check);
                if let Some(check) = binding(management, one, start(has_our_arguments)).await? {
                    push(check);
                }
            }
            push(prefetch(found, one));
        }
    }
    if one.dead_letter != DeadLetter::None {
        let advice = start(has_our_arguments);
        for check in dead_letters(broker, management, one, found.is_some(), advice).await? {
            report.push(check.about(&dead_letter_queue(name)));
        }
    }
    Ok(())
}

fn arguments(found: &QueueObject, headers: &Headers) -> Check {
    match found.differences(headers).as_slice() {
        [] => Check::ok(ARGUMENTS, "those that `subscribe` would declare"),
        all => Check::error(
            ARGUMENTS,
            format_args!(
                "`subscribe` is refused (precondition_failed): {}",
                all.join(", ")
            ),
            about_arguments(found, headers),
        ),
    }
}

/// What to do if `subscribe` is needed, which a queue with other arguments refuses.
fn start(has_our_arguments: bool) -> &'static str {
    match has_our_arguments {
        true => {
            "start `subscribe` once; it creates or binds the queue, if the user of stomp_url has the right to \
             configure it"
        }
        false => "correct the arguments of the queue first, then start `subscribe` once",
    }
}

/// What to do about other arguments. `queue_headers` cannot remove an argument, nor change those for dead letters.
fn about_arguments(found: &QueueObject, headers: &Headers) -> String {
    let recreate = "when the queue is empty, delete it, and start `subscribe`, which creates it";
    let with_theirs = found.arguments.iter().filter_map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let is_ours = headers.iter().any(|(own, _)| own == name);
        let is_default = name == TYPE && found.default_type.as_ref() == Some(&text);
        (!is_ours && !is_default).then(|| (name.clone(), text))
    });
    let with_theirs: Vec<(String, String)> = with_theirs.collect();
    let mut all: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    all.extend(with_theirs.iter().cloned());
    if with_theirs.is_empty() || !found.differences(&all).is_empty() {
        return recreate.to_owned();
    }
    let lines: Vec<String> = with_theirs
        .iter()
        .map(|(name, value)| format!("\"{name}:{value}\""))
        .collect();
    format!("set queue_headers = [{}]; or, {recreate}", lines.join(", "))
}

/// Whether the queue gets the messages of its topic or exchange; `None` if it is itself the destination.
async fn binding(
    management: &Management,
    one: &Subscribed,
    advice: &str,
) -> Result<Option<Check>, ManagementError> {
    let (source, key) = match one.queue.kind() {
        Destination::Topic(name) => (TOPICS.to_owned(), decoded(name)),
        Destination::Exchange(name, key) => (decoded(name), decoded(key.unwrap_or_default())),
        _ => return Ok(None),
    };
    let bindings: Option<Vec<Binding>> = management
        .object("queues", &one.queue.name, "/bindings")
        .await?;
    let is_bound = |binding: &Binding| binding.source == source && binding.routing_key == key;
    let destination = &one.queue.destination;
    Ok(Some(
        match bindings.unwrap_or_default().iter().any(is_bound) {
            true => Check::ok(BINDING, format_args!("bound to {destination}")),
            false => Check::error(
                BINDING,
                format_args!(
                    "not bound to {destination}: the broker does not put its messages here"
                ),
                advice,
            ),
        },
    ))
}

fn prefetch(found: &QueueObject, one: &Subscribed) -> Check {
    let ours = one.queue.prefetch;
    let mut counts: Vec<u64> = found
        .consumer_details
        .iter()
        .map(|one| one.prefetch_count)
        .collect();
    counts.sort_unstable();
    counts.dedup();
    let shown: Vec<String> = counts.iter().map(u64::to_string).collect();
    match counts.as_slice() {
        [] => Check::ok(
            PREFETCH,
            format_args!("{ours}; nobody consumes the queue now"),
        ),
        [0, ..] => Check::warning(
            PREFETCH,
            "a consumer without a limit takes all messages that wait, and others get none",
            "set a prefetch in that consumer (prefetch-count in SUBSCRIBE)",
        ),
        _ => Check::ok(
            PREFETCH,
            format_args!("{ours}; the consumers have {}", shown.join(", ")),
        ),
    }
}

async fn dead_letters(
    broker: Broker,
    management: &Management,
    one: &Subscribed,
    is_queue_there: bool,
    advice: &str,
) -> Result<Vec<Check>, ManagementError> {
    let name = dead_letter_queue(&one.queue.name);
    let Some(found) = management.queue(&name).await? else {
        return Ok(vec![match is_queue_there {
            true => Check::error(
                DEAD_LETTERS,
                "does not exist: the broker drops messages that it moves there (rejected, expired)",
                advice,
            ),
            false => Check::warning(DEAD_LETTERS, "does not exist", advice),
        }]);
    };
    let mut warnings = policies(&name, &found);
    let headers = one
        .queue
        .dead_letter_declaration(broker)
        .map(|declared| declared.headers);
    let differences = found.differences(&headers.unwrap_or_default());
    if !differences.is_empty() {
        warnings.push(Check::warning(
            DEAD_LETTERS,
            format_args!(
                "is used as it is, with other arguments: {}",
                differences.join(", ")
            ),
            "set dead_letter_headers to the queue's arguments; or, when the queue is empty, delete it and start \
             `subscribe`",
        ));
    }
    if warnings.is_empty() {
        warnings.push(Check::ok(
            DEAD_LETTERS,
            found.messages.map_or("exists".to_owned(), |messages| {
                format!("exists, {}", counted(messages, "message"))
            }),
        ));
    }
    Ok(warnings)
}

/// The warnings of policies by which dead letters are lost.
fn policies(name: &str, found: &QueueObject) -> Vec<Check> {
    let mut warnings = Vec::new();
    if let Some(limit) = found.delivery_limit().filter(|limit| *limit < LOWEST_LIMIT) {
        warnings.push(Check::warning(
            DEAD_LETTERS,
            format_args!(
                "the quorum queue drops a dead letter that was read more than {limit} times"
            ),
            format_args!(
                "set {DELIVERY_LIMIT} in the policy to -1 (from RabbitMQ 4.0 on), or to {LOWEST_LIMIT} or more"
            ),
        ));
    }
    let deleted = found.deleted_by_policy();
    if !deleted.is_empty() {
        warnings.push(Check::warning(
            DEAD_LETTERS,
            format_args!(
                "the broker deletes dead letters because of a policy: {}",
                deleted.join(", ")
            ),
            format_args!(
                "unless dead letters may be lost, leave {name} out of the policy's pattern, or give it a policy of a \
                 higher priority without these keys: `rabbitmqctl list_policies` and `list_operator_policies` show them"
            ),
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::doctor::Verdict;

    fn subscribed(change: impl FnOnce(&mut Config)) -> Subscribed {
        let mut config = Config::default();
        change(&mut config);
        let subscription = SubscriptionConfig::new("", "/topic/orders", Some("billing"), &config);
        Subscribed::new(&subscription).unwrap()
    }

    fn found(json: Value) -> QueueObject {
        let queue: QueueObject = serde_json::from_value(json).unwrap();
        queue.where_default_is(Some("classic".to_owned()))
    }

    #[test]
    fn arguments_that_subscribe_would_not_declare_are_named() {
        let declared = serde_json::json!({
            "durable": true, "auto_delete": false, "exclusive": false,
            "arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "DLQ.billing"},
        });
        let headers = subscribed(|_| {}).queue.subscribe(Broker::RabbitMq).headers;
        assert_eq!(
            arguments(&found(declared.clone()), &headers).verdict,
            Verdict::Ok
        );
        let mut classic = declared.clone();
        classic["arguments"]["x-queue-type"] = "classic".into();
        assert_eq!(arguments(&found(classic), &headers).verdict, Verdict::Ok);
        let mut other = declared.clone();
        other["durable"] = false.into();
        other["arguments"]["x-message-ttl"] = 1000.into();
        other["arguments"]["x-dead-letter-exchange"] = "dlx".into();
        let check = arguments(&found(other), &headers);
        assert_eq!(check.verdict, Verdict::Error);
        assert!(
            check.text.ends_with(
                "durable is false, ours true, x-dead-letter-exchange is dlx, ours empty, x-message-ttl is 1000, \
                 ours not set"
            ),
            "{check:?}"
        );
        let mut more = declared.clone();
        more["arguments"]["x-max-length"] = 10.into();
        let advice = arguments(&found(more.clone()), &headers).advice.unwrap();
        assert!(
            advice.starts_with("set queue_headers = [\"x-max-length:10\"]; or"),
            "{advice}"
        );
        more["arguments"] = serde_json::json!({"x-max-length": 10});
        let advice = arguments(&found(more), &headers).advice.unwrap();
        assert!(advice.starts_with("when the queue is empty"), "{advice}");
        let with = subscribed(|config| {
            config.queue_headers = vec!["x-message-ttl:1000".to_owned(), "x-priority:5".to_owned()];
        });
        let headers = with.queue.subscribe(Broker::RabbitMq).headers;
        let mut same = declared;
        same["arguments"]["x-message-ttl"] = 1000.into();
        assert_eq!(arguments(&found(same), &headers).verdict, Verdict::Ok);
    }

    #[test]
    fn a_consumer_without_prefetch_is_a_warning() {
        let with = |counts: &[u64]| {
            let consumers: Vec<Value> = counts
                .iter()
                .map(|count| serde_json::json!({"prefetch_count": count}))
                .collect();
            prefetch(
                &found(serde_json::json!({"consumer_details": consumers})),
                &subscribed(|_| {}),
            )
        };
        assert_eq!(with(&[]).text, "2; nobody consumes the queue now");
        assert_eq!(with(&[2, 8, 2]).text, "2; the consumers have 2, 8");
        assert_eq!(with(&[2, 0]).verdict, Verdict::Warning);
    }
}
