//! A task for a Celery worker, before it is a row of the outbox.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::CeleryTaskError;
use super::{protocol, repr};
use crate::backend::{AsBackend, never};
use crate::error::{Error, MessageError};
use crate::json::to_value;
use crate::message::Message;

/// The queue of workers that are started without a name of a queue.
const DEFAULT_QUEUE: &str = "celery";

/// A task for a Celery worker, sent through the outbox and RabbitMQ.
///
/// The relay sends it as Celery's message protocol 2 with a JSON body, which is what a worker accepts by
/// default. Delivery is at least once: **a worker may run the task twice**, so make the task idempotent, by
/// its id (`self.request.id`) for example. No result is read back. `docs/celery.md` has the details.
///
/// ```
/// use diesel_outbox::CeleryTask;
///
/// #[derive(serde::Serialize)]
/// struct Options {
///     currency: &'static str,
/// }
///
/// let task = CeleryTask::new("shop.charge")
///     .args((7, "12.50"))
///     .kwargs(Options { currency: "eur" })
///     .key("customer-7".to_owned());
/// # #[cfg(all(feature = "sqlite", feature = "testing"))] {
/// # use diesel::{Connection, SqliteConnection};
/// # use diesel_outbox::{migrations::Migrate, testing};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// // In the caller's transaction, if one is open.
/// let id = task.publish(conn)?;
/// # let row = &testing::published(conn)?[0];
/// # assert_eq!(row.headers["id"], id.to_string());
/// # assert_eq!(row.body[0], serde_json::json!([7, "12.50"]));
/// # assert_eq!(row.body[1], serde_json::json!({"currency": "eur"}));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a task does nothing until it is published"]
pub struct CeleryTask {
    name: String,
    id: Option<Uuid>,
    queue: Queue,
    args: Result<Vec<Value>, MessageError>,
    kwargs: Result<Map<String, Value>, MessageError>,
    /// Celery's headers that the caller has set.
    headers: Vec<(&'static str, String)>,
    /// Everything that is not Celery's. Its destination and body are set last.
    message: Message,
}

/// A queue of RabbitMQ, and whether a SEND declares it.
#[derive(Debug)]
enum Queue {
    Declared(String),
    Existing(String),
}

impl CeleryTask {
    /// Creates a task without arguments for the queue `celery`. The name is the one under which the task is
    /// registered in Celery, such as `shop.tasks.charge`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            queue: Queue::Declared(DEFAULT_QUEUE.to_owned()),
            args: Ok(Vec::new()),
            kwargs: Ok(Map::new()),
            headers: Vec::new(),
            message: Message::new("", Value::Null),
        }
    }

    /// Sets the positional arguments: a tuple, an array or a list. `()` means none.
    ///
    /// A map with exactly the keys `__type__` and `__value__` means a Python object to Celery, as kombu
    /// writes them: `{"__type__": "decimal", "__value__": "12.50"}` is `Decimal("12.50")` in the task.
    pub fn args(mut self, args: impl Serialize) -> Self {
        self.args = match to_value(args) {
            Ok(Value::Array(args)) => Ok(args),
            Ok(Value::Null) => Ok(Vec::new()),
            Ok(_) => Err(CeleryTaskError::Args.into()),
            Err(error) => Err(MessageError::Body(error)),
        };
        self
    }

    /// Sets the keyword arguments: a struct, or a map with texts as keys. `()` means none.
    pub fn kwargs(mut self, kwargs: impl Serialize) -> Self {
        self.kwargs = match to_value(kwargs) {
            Ok(Value::Object(kwargs)) => Ok(kwargs),
            Ok(Value::Null) => Ok(Map::new()),
            Ok(_) => Err(CeleryTaskError::Kwargs.into()),
            Err(error) => Err(MessageError::Body(error)),
        };
        self
    }

    /// Sets the queue; the default is `celery`. RabbitMQ declares it if it does not exist, as Celery does:
    /// durable, a classic queue without arguments. So a task is not lost if no worker has run before.
    ///
    /// If the queue exists with arguments (a quorum queue, priorities, a time to live), RabbitMQ refuses the
    /// task, and the row's `last_error` says so: use [`existing_queue`](Self::existing_queue).
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Queue::Declared(name.into());
        self
    }

    /// Sets a queue that is declared by others, with any arguments, such as a quorum queue.
    ///
    /// **RabbitMQ confirms and drops the task if the queue does not exist**: start a worker before the first
    /// task, and do not delete the queue.
    pub fn existing_queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Queue::Existing(name.into());
        self
    }

    /// Sets the id of the task and of its row; the default is a new UUIDv7. As [`Message::id`], it makes a
    /// write that is retried one task: see [`publish`](Self::publish) and
    /// [`publish_if_new`](Self::publish_if_new).
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the moment before which the worker does not run the task.
    ///
    /// The task is sent at once, and a worker keeps it in memory until then. RabbitMQ by default closes a
    /// worker's channel if it keeps a task for longer than 30 minutes: prefer
    /// [`due_at`](Self::due_at) or [`delay`](Self::delay), with which the row waits in the outbox.
    pub fn eta(self, moment: DateTime<Utc>) -> Self {
        self.set(protocol::ETA, time(moment))
    }

    /// Sets the moment after which the task is not run: the relay then parks the row with the reason
    /// `expired`, and a worker that has received the task revokes it.
    pub fn expires(mut self, moment: DateTime<Utc>) -> Self {
        self.message = self.message.expires_at(moment);
        self.set(protocol::EXPIRES, time(moment))
    }

    /// Sets how logs and monitors show the positional arguments, for example without secrets. The default
    /// is the arguments as Python shows them, at most 1,024 characters.
    pub fn argsrepr(self, text: impl Into<String>) -> Self {
        self.set(protocol::ARGSREPR, text.into())
    }

    /// Sets how logs and monitors show the keyword arguments, as [`argsrepr`](Self::argsrepr) does.
    pub fn kwargsrepr(self, text: impl Into<String>) -> Self {
        self.set(protocol::KWARGSREPR, text.into())
    }

    /// Sets a header, which the task finds in `self.request`. `priority` is the priority of the message.
    ///
    /// Headers that are not texts in Celery's protocol (`timelimit`, `retries`, `ignore_result`,
    /// `group_index`, `replaced_task_nesting`, `stamped_headers`, `stamps`) are an error when the task is
    /// published: a worker cannot read them as text. `origin` and `root_id` replace the default ones; other
    /// headers that this type sets itself override one of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.message = self.message.header(name, value);
        self
    }

    /// Sets the ordering key: tasks with the same one reach RabbitMQ in the order in which they were written.
    /// Workers run them in that order only if one process with one thread consumes the queue.
    pub fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.message = self.message.key(key);
        self
    }

    /// Sets the stream, as [`Message::stream`] does.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.message = self.message.stream(stream);
        self
    }

    /// Sets the moment before which the task is not sent, as [`Message::due_at`] does.
    pub fn due_at(mut self, moment: DateTime<Utc>) -> Self {
        self.message = self.message.due_at(moment);
        self
    }

    /// Sets the time before which the task is not sent, as [`Message::delay`] does.
    pub fn delay(mut self, time: Duration) -> Self {
        self.message = self.message.delay(time);
        self
    }

    /// Writes the task to the outbox, in the caller's transaction if one is open. Returns its id, which is
    /// also the task's id in Celery.
    ///
    /// # Errors
    ///
    /// If the task is invalid, the outbox has a row with its [`id`](Self::id) already
    /// ([`Error::IdTaken`]), or the database fails; nothing is written then.
    pub fn publish<C: AsBackend>(self, conn: &mut C) -> Result<Uuid, Error> {
        self.into_message().publish(conn)
    }

    /// Writes the task to the outbox. Returns false, and writes nothing, if the outbox has a row with its
    /// [`id`](Self::id) already, as [`Message::publish_if_new`] does.
    ///
    /// # Errors
    ///
    /// If the task is invalid or the database fails; nothing is written then.
    pub fn publish_if_new<C: AsBackend>(self, conn: &mut C) -> Result<bool, Error> {
        self.into_message().publish_if_new(conn)
    }

    /// Returns the task as a message, for [`Publish::messages_of`](crate::Publish::messages_of) or
    /// `Producer::send`. An invalid task is an error when the message is published.
    pub fn into_message(self) -> Message {
        let Self {
            name,
            id,
            queue,
            args,
            kwargs,
            headers,
            message,
        } = self;
        let id = id.unwrap_or_else(Uuid::now_v7);
        let checked = check(&name, &queue, &message);
        let mut all = standard_headers(name, id);
        all.retain(|(name, _)| !DEFAULTS.contains(name) || message.own_header(name).is_none());
        let arguments = checked.and_then(|()| Ok((args?, kwargs?)));
        let body = arguments.map(|(args, kwargs)| {
            all.push((protocol::ARGSREPR, repr::args(&args)));
            all.push((protocol::KWARGSREPR, repr::kwargs(&kwargs)));
            let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null});
            json!([args, kwargs, embed])
        });
        // The caller's representations come last, and so override.
        let message = message.headers(all).headers(headers).id(id);
        message.with(queue.destination(), body)
    }

    fn set(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Queue {
    fn name(&self) -> &str {
        match self {
            Self::Declared(name) | Self::Existing(name) => name,
        }
    }

    /// The destination. A slash in a name is `%2F`: <https://www.rabbitmq.com/docs/stomp#d.q>.
    fn destination(&self) -> String {
        let name = self.name().replace('/', "%2F");
        match self {
            Self::Declared(_) => format!("/queue/{name}"),
            Self::Existing(_) => format!("/amq/queue/{name}"),
        }
    }
}

/// Headers that the caller may set to something else.
const DEFAULTS: [&str; 2] = [protocol::ROOT_ID, protocol::ORIGIN];

fn standard_headers(name: String, id: Uuid) -> Vec<(&'static str, String)> {
    let origin = format!("{}@{}", std::process::id(), env!("CARGO_PKG_NAME"));
    vec![
        (protocol::TASK, name),
        (protocol::ID, id.to_string()),
        (protocol::ROOT_ID, id.to_string()),
        // As Celery's own clients do: the result backend `rpc` reads it.
        (protocol::CORRELATION_ID, id.to_string()),
        (protocol::LANG, "py".to_owned()),
        (protocol::ORIGIN, origin),
        (protocol::CONTENT_ENCODING, protocol::UTF_8.to_owned()),
    ]
}

fn check(name: &str, queue: &Queue, message: &Message) -> Result<(), MessageError> {
    if name.trim().is_empty() {
        return Err(CeleryTaskError::EmptyName.into());
    }
    if queue.name().trim().is_empty() {
        return Err(CeleryTaskError::EmptyQueue.into());
    }
    let not_text = protocol::NOT_TEXT
        .into_iter()
        .find(|name| message.own_header(name).is_some());
    match not_text {
        Some(name) => Err(CeleryTaskError::NotText { name }.into()),
        None => Ok(()),
    }
}

/// A moment for Python's `datetime.fromisoformat`: before 3.11 it reads no `Z`, and it ends with the year 9999.
fn time(moment: DateTime<Utc>) -> String {
    let moment = moment.clamp(DateTime::UNIX_EPOCH, never());
    moment.to_rfc3339_opts(SecondsFormat::Micros, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out, so that a name that is missing in the program fails a test.
    const NEVER_SENT: [&str; 7] = [
        "timelimit",
        "retries",
        "ignore_result",
        "group_index",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    ];

    #[test]
    fn a_task_is_a_message_of_protocol_2() {
        let id = Uuid::from_u128(7);
        let moment = DateTime::from_timestamp(1_800_000_000, 5_000).unwrap();
        let task = CeleryTask::new("shop.charge")
            .id(id)
            .args((7, "é"))
            .kwargs(json!({"currency": "eur"}))
            .eta(moment)
            .expires(moment);
        let ready = task.into_message().ready().unwrap();
        assert_eq!(ready.destination, "/queue/celery");
        assert_eq!(
            ready.body,
            json!([
                [7, "é"],
                {"currency": "eur"},
                {"callbacks": null, "errbacks": null, "chain": null, "chord": null}
            ])
        );
        for (name, value) in [
            ("task", "shop.charge"),
            ("id", &id.to_string()),
            ("root_id", &id.to_string()),
            ("correlation-id", &id.to_string()),
            ("dop-msg-id", &id.to_string()),
            ("lang", "py"),
            ("content-encoding", "utf-8"),
            ("argsrepr", "(7, 'é')"),
            ("kwargsrepr", "{'currency': 'eur'}"),
            ("eta", "2027-01-15T08:00:00.000005+00:00"),
            ("expires", "2027-01-15T08:00:00.000005+00:00"),
        ] {
            assert_eq!(ready.headers[name], value, "{name}");
        }
        for name in NEVER_SENT {
            assert!(!ready.headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn what_the_caller_may_choose() {
        let task = CeleryTask::new("a")
            .existing_queue("a/b")
            .header("root_id", "first")
            .header("origin", "me")
            .header("id", "other")
            .argsrepr("(secret)")
            .kwargsrepr("{}")
            .args([1]);
        let ready = task.into_message().ready().unwrap();
        assert_eq!(ready.destination, "/amq/queue/a%2Fb");
        let header = |name: &str| ready.headers[name].as_str();
        assert_eq!(header("root_id"), "first");
        assert_eq!(header("origin"), "me");
        assert_eq!(header("argsrepr"), "(secret)");
        assert_eq!(header("kwargsrepr"), "{}");
        assert_eq!(header("id"), ready.id.to_string());
    }

    #[test]
    fn each_mistake_names_itself() {
        let task = || CeleryTask::new("a");
        let cases: [(CeleryTask, &str); 7] = [
            (CeleryTask::new(" "), "the name of the Celery task is empty"),
            (task().queue(""), "the queue of the Celery task is empty"),
            (task().args(7), "are not a sequence"),
            (task().args(json!({"a": 1})), "are not a sequence"),
            (task().kwargs([1]), "are not a map"),
            (task().header("timelimit", "3"), "the header `timelimit`"),
            (task().argsrepr("\0"), "the header `argsrepr` holds"),
        ];
        for (task, expected) in cases {
            let error = task.into_message().ready().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        // Not text in the protocol: Celery would read a text as something else.
        for name in NEVER_SENT {
            let task = task().header(name, "3").into_message();
            let error = task.ready().unwrap_err().to_string();
            assert!(
                error.contains(&format!("the header `{name}`")),
                "{name}: {error}"
            );
        }
        assert!(task().args(()).kwargs(()).into_message().ready().is_ok());
    }

    #[test]
    fn a_moment_is_one_that_python_knows() {
        assert_eq!(time(DateTime::<Utc>::MAX_UTC), time(never()));
        assert_eq!(
            time(DateTime::<Utc>::MIN_UTC),
            "1970-01-01T00:00:00.000000+00:00"
        );
    }
}
