//! Tasks that Celery sends, as callbacks get them.

mod arguments;
mod dispatch;
mod error;
mod python;
mod schedule;
mod task_message;

use crate::celery::protocol;

pub use error::CeleryError;

pub(crate) use dispatch::Tasks;
pub(crate) use task_message::TaskMessage;

/// The name of the callback that runs the tasks of a registry.
pub(crate) const CALLBACK: &str = "celery";

/// The arguments of a Celery task as the caller's type, for
/// [`Registry::on_celery`](crate::Registry::on_celery) and [`Payload::celery`](crate::Payload::celery).
///
/// A struct receives them as a Python function does: its fields are the parameters, in their order.
/// Positional arguments fill the first fields, and keyword arguments the others by name. An argument that
/// is passed twice, that is missing, or that has no field is an error; a field with `#[serde(default)]` or
/// of the type `Option` may be missing. Do not use `#[serde(alias)]`: positional arguments would not find
/// their fields.
///
/// A tuple or a `Vec` receives positional arguments only, a map keyword arguments only, and `()` none.
///
/// Python's `datetime`, `date`, `time`, `Decimal`, `UUID` and `bytes` arrive as texts, so that
/// `chrono::DateTime`, `uuid::Uuid` and the like can be fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Celery<T>(pub T);

/// The headers that may carry the id of a task: those of the setting, and `id` before the `message-id` of
/// the broker, which is the last resort.
pub(crate) fn id_headers(mut setting: Vec<String>) -> Vec<String> {
    if !setting.iter().any(|name| name == protocol::ID) {
        let last = setting.iter().position(|name| name == "message-id");
        setting.insert(last.unwrap_or(setting.len()), protocol::ID.to_owned());
    }
    setting.insert(0, schedule::SCHEDULED_ID.to_owned());
    setting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_task_counts_before_that_of_the_broker() {
        for (setting, expected) in [
            (
                "cap-msg-id,message-id",
                "outbox-scheduled-id,cap-msg-id,id,message-id",
            ),
            ("a", "outbox-scheduled-id,a,id"),
            ("id,dop-msg-id", "outbox-scheduled-id,id,dop-msg-id"),
        ] {
            let setting = setting.split(',').map(str::to_owned).collect();
            assert_eq!(id_headers(setting).join(","), expected);
        }
    }
}
