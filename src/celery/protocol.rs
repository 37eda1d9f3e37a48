//! The headers of Celery's message protocol 2.

/// The task's name.
pub(crate) const TASK: &str = "task";
/// The task's id.
pub(crate) const ID: &str = "id";
/// The id of the first task of a workflow.
pub(crate) const ROOT_ID: &str = "root_id";
/// The language of the task's code, by which a worker could pass a task on; workers of Celery expect `py`.
pub(crate) const LANG: &str = "lang";
/// Who sent the task.
pub(crate) const ORIGIN: &str = "origin";
/// The positional arguments, for logs and monitors.
pub(crate) const ARGSREPR: &str = "argsrepr";
/// The keyword arguments, for logs and monitors.
pub(crate) const KWARGSREPR: &str = "kwargsrepr";
/// The moment before which the task is not to run, ISO 8601.
pub(crate) const ETA: &str = "eta";
/// The moment after which the task is not to run, ISO 8601.
pub(crate) const EXPIRES: &str = "expires";

/// AMQP properties, as STOMP headers.
pub(crate) const CORRELATION_ID: &str = "correlation-id";
pub(crate) const CONTENT_ENCODING: &str = "content-encoding";
pub(crate) const UTF_8: &str = "utf-8";

/// Headers that are numbers, lists or tables in the protocol. A STOMP header reaches AMQP as text, and a
/// worker that reads one of these as text fails or ends: measured with Celery 5.7.
pub(crate) const NOT_TEXT: [&str; 7] = [
    "timelimit",
    "retries",
    "ignore_result",
    "group_index",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
];
