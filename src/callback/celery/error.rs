//! Why a message cannot be run as a Celery task.

/// Why a message cannot be run as a Celery task. Another attempt would not avoid it, so the message goes to the
/// dead letters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeleryError {
    /// The header `task` is missing.
    #[error(
        "the message has no header `task`, so it is no task of Celery's message protocol 2: set \
         task_protocol = 2 in Celery"
    )]
    NoTask,
    /// No task of this name is registered.
    #[error("no task is named `{task}`; there are: {known}")]
    Unknown {
        /// The task's name.
        task: String,
        /// The names of all tasks.
        known: String,
    },
    /// The body is not JSON.
    #[error(
        "the body is `{0}`, and only JSON is read: set task_serializer = \"json\" in Celery, or serializer=\"json\" at \
         the call"
    )]
    ContentType(String),
    /// The body is compressed, or in another character set.
    #[error(
        "the body is encoded as `{0}`, and only plain UTF-8 is read: unset task_compression in Celery, and \
         compression at the call"
    )]
    Encoding(String),
    /// The body has another shape.
    #[error("the body is not `[args, kwargs, embed]` of Celery's message protocol 2: {0}")]
    Body(#[source] serde_json::Error),
    /// Celery would send other tasks after this one.
    #[error(
        "the task has `{0}`, which only a Celery worker can send: call it without a chain, a chord, link and \
         link_error"
    )]
    Linked(&'static str),
    /// `eta` or `expires` is not a time.
    #[error("the header `{name}` is not a time: `{value}`")]
    Time {
        /// The header's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The task came after the moment in its header `expires`.
    #[error("the task expired at {0}")]
    Expired(String),
    /// The task came before the moment in its header `eta`, to a callback that cannot wait.
    #[error("the task is due at {0}, and only tasks of `Registry::on_celery` wait for their eta")]
    NotDue(String),
    /// The arguments do not fit the callback's type.
    #[error("the arguments of the task: {0}")]
    Arguments(#[source] serde_json::Error),
}

/// The first characters of a text from outside, escaped.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
