//! What is wrong with a task for Celery.

/// What is wrong with a task for Celery. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeleryTaskError {
    /// The task has no name.
    #[error("the name of the Celery task is empty; name one, such as `shop.charge`")]
    EmptyName,

    /// The queue has no name.
    #[error("the queue of the Celery task is empty; name one, such as `celery`")]
    EmptyQueue,

    /// The positional arguments are not a sequence.
    #[error(
        "the args of the Celery task are not a sequence: pass a tuple, an array or a list, such as `(7,)`"
    )]
    Args,

    /// The keyword arguments are not a map with names.
    #[error(
        "the kwargs of the Celery task are not a map: pass a struct, or a map with texts as keys"
    )]
    Kwargs,

    /// The header is not a text in Celery's protocol.
    #[error(
        "the header `{name}` reaches Celery as text, which its workers cannot read: set it in Python, at the task"
    )]
    NotText {
        /// The header's name.
        name: &'static str,
    },
}
