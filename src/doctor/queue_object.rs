//! A queue as the management API shows it.

use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) const TYPE: &str = "x-queue-type";
pub(super) const DELIVERY_LIMIT: &str = "delivery-limit";
const OVERFLOW: &str = "overflow";

/// Headers of SUBSCRIBE that are arguments of the consumer, and not of the queue.
const OF_CONSUMER: [&str; 4] = ["x-queue-name", "x-priority", "x-stream-offset", "x-credit"];

/// A queue as the management API shows it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct QueueObject {
    #[serde(default)]
    durable: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    pub(super) arguments: Map<String, Value>,
    pub(super) messages: Option<u64>,
    #[serde(default)]
    pub(super) consumer_details: Vec<Consumer>,
    /// By policies and operator policies.
    #[serde(default)]
    effective_policy_definition: Value,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The type of a queue that is declared without one, in this virtual host.
    #[serde(skip)]
    pub(super) default_type: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Consumer {
    #[serde(default)]
    pub(super) prefetch_count: u64,
}

impl QueueObject {
    pub(super) fn where_default_is(mut self, default_type: Option<String>) -> Self {
        self.default_type = default_type;
        self
    }

    /// The deliveries after which the queue gives up a message, if that is set and there is a limit.
    pub(super) fn delivery_limit(&self) -> Option<u64> {
        let limit = self.effective_policy_definition.get(DELIVERY_LIMIT)?;
        limit
            .as_u64()
            .filter(|_| self.kind.as_deref() == Some("quorum"))
    }

    /// Whether it is a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.kind.as_deref() == Some("stream")
    }

    /// What a policy lets the broker delete: `each after 2000 ms (message-ttl)`. A queue that refuses messages at its
    /// maximum length deletes none for it.
    pub(super) fn deleted_by_policy(&self) -> Vec<String> {
        let policy = |key: &str| self.effective_policy_definition.get(key);
        let overflow = self
            .arguments
            .get("x-overflow")
            .or_else(|| policy(OVERFLOW));
        let refuses = overflow.and_then(Value::as_str) == Some("reject-publish");
        let keys = [
            ("message-ttl", "each after", " ms"),
            ("expires", "the queue after", " ms without use"),
            ("max-length", "the oldest of more than", ""),
            ("max-length-bytes", "the oldest of more than", " bytes"),
        ];
        let deleting = keys
            .iter()
            .filter(|(key, ..)| !refuses || !key.starts_with("max-length"));
        deleting
            .filter_map(|(key, what, unit)| Some(format!("{what} {}{unit} ({key})", policy(key)?)))
            .collect()
    }

    /// The arguments that differ from those in headers of SUBSCRIBE or SEND.
    pub(super) fn differences<K: AsRef<str>, V: AsRef<str>>(
        &self,
        headers: &[(K, V)],
    ) -> Vec<String> {
        let header = |name: &str| {
            let found = headers.iter().find(|(other, _)| other.as_ref() == name);
            found.map(|(_, value)| value.as_ref().to_owned())
        };
        let mut differences = Vec::new();
        let mut compare = |name: &str, theirs: Option<String>, ours: Option<String>| {
            if theirs != ours {
                let shown = |value: &Option<String>| match value.as_deref() {
                    None => "not set".to_owned(),
                    Some("") => "empty".to_owned(),
                    Some(value) => value.to_owned(),
                };
                differences.push(format!(
                    "{name} is {}, ours {}",
                    shown(&theirs),
                    shown(&ours)
                ));
            }
        };
        for (name, theirs) in [
            ("durable", self.durable),
            ("auto-delete", self.auto_delete),
            ("exclusive", self.exclusive),
        ] {
            let ours = header(name).unwrap_or_else(|| "false".to_owned());
            compare(name, Some(theirs.to_string()), Some(ours));
        }
        let arguments = headers.iter().map(|(name, _)| name.as_ref());
        let ours = arguments.filter(|name| name.starts_with("x-") && !OF_CONSUMER.contains(name));
        let theirs = self.arguments.keys().map(String::as_str);
        let mut names: Vec<&str> = ours.chain(theirs).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let mut theirs = self.arguments.get(name).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let mut ours = header(name);
            if name == TYPE {
                theirs = theirs.or_else(|| self.default_type.clone());
                ours = ours.or_else(|| self.default_type.clone());
                if theirs.is_none() || ours.is_none() {
                    // The default is not known.
                    continue;
                }
            }
            compare(name, theirs, ours);
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_limit_is_that_of_a_quorum_queue() {
        let limit = |kind: &str, limit: i64| {
            let policy = serde_json::json!({"delivery-limit": limit});
            let queue = serde_json::json!({"type": kind, "effective_policy_definition": policy});
            QueueObject::deserialize(queue).unwrap().delivery_limit()
        };
        assert_eq!(limit("quorum", 5), Some(5));
        assert_eq!((limit("quorum", -1), limit("classic", 5)), (None, None));
        assert_eq!(QueueObject::default().delivery_limit(), None);
    }

    /// RabbitMQ 3.10 and 4.3: the queue's own argument counts, and not that of the policy.
    #[test]
    fn a_queue_that_refuses_messages_at_its_maximum_length_deletes_none() {
        let deleted = |own: Option<&str>, of_policy: Option<&str>| {
            let queue = serde_json::json!({
                "arguments": own.map_or(Map::new(), |own| Map::from_iter([("x-overflow".to_owned(), own.into())])),
                "effective_policy_definition": {"max-length": 5, "overflow": of_policy},
            });
            QueueObject::deserialize(queue).unwrap().deleted_by_policy()
        };
        let oldest = ["the oldest of more than 5 (max-length)"];
        let (refuses, drops) = (Some("reject-publish"), Some("drop-head"));
        assert_eq!(deleted(None, None), oldest);
        assert_eq!(deleted(drops, refuses), oldest);
        assert!(deleted(None, refuses).is_empty());
        assert!(deleted(refuses, None).is_empty());
        assert!(deleted(refuses, drops).is_empty());
        assert!(QueueObject::default().deleted_by_policy().is_empty());
    }
}
