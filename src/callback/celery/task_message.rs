//! A message that Celery sent: protocol 2, in JSON.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::error::{CeleryError, shown};
use super::python::plain;
use crate::callback::Payload;
use crate::celery::protocol;

/// The parts of the embed that make a worker send other tasks.
const LINKS: [&str; 4] = ["callbacks", "errbacks", "chain", "chord"];

/// Arguments by position, arguments by name, and what is to follow the task.
type Body = (Vec<Value>, Map<String, Value>, Option<Map<String, Value>>);

/// What a worker has to know of a task before it runs it.
#[derive(Debug)]
pub(crate) struct TaskMessage {
    arguments: Arguments,
    eta: Option<DateTime<Utc>>,
    expires: Option<DateTime<Utc>>,
}

impl TaskMessage {
    /// Reads the headers and the body. It looks at no clock.
    pub(crate) fn read(payload: &Payload) -> Result<Self, CeleryError> {
        task_name(payload)?;
        check_encoding(payload)?;
        let parts: Body = serde_json::from_slice(payload.raw()).map_err(CeleryError::Body)?;
        let (mut args, mut kwargs, embed) = parts;
        let embed = embed.unwrap_or_default();
        let is_set = |link: &&&str| match embed.get(**link) {
            None | Some(Value::Null) => false,
            Some(Value::Array(tasks)) => !tasks.is_empty(),
            Some(_) => true,
        };
        if let Some(link) = LINKS.iter().find(is_set) {
            return Err(CeleryError::Linked(link));
        }
        args.iter_mut().chain(kwargs.values_mut()).for_each(plain);
        Ok(Self {
            arguments: Arguments { args, kwargs },
            eta: time(payload, protocol::ETA)?,
            expires: time(payload, protocol::EXPIRES)?,
        })
    }

    /// The moment before which the task is not to run, if that is after `now`.
    ///
    /// An error if the task expires before it may run.
    pub(super) fn due(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, CeleryError> {
        let due = self.eta.filter(|eta| *eta > now);
        match self.expires {
            Some(expires) if expires <= due.unwrap_or(now) => {
                Err(CeleryError::Expired(expires.to_rfc3339()))
            }
            _ => Ok(due),
        }
    }

    pub(super) fn expires(&self) -> Option<DateTime<Utc>> {
        self.expires
    }

    /// The arguments, if the task may run now.
    pub(crate) fn arguments_at<T: DeserializeOwned>(
        self,
        now: DateTime<Utc>,
    ) -> Result<T, CeleryError> {
        if let Some(eta) = self.due(now)? {
            return Err(CeleryError::NotDue(eta.to_rfc3339()));
        }
        self.arguments()
    }

    /// The arguments, whatever the time is.
    pub(crate) fn arguments<T: DeserializeOwned>(self) -> Result<T, CeleryError> {
        T::deserialize(self.arguments).map_err(CeleryError::Arguments)
    }
}

/// The task's name.
pub(super) fn task_name(payload: &Payload) -> Result<&str, CeleryError> {
    payload.header(protocol::TASK).ok_or(CeleryError::NoTask)
}

fn check_encoding(payload: &Payload) -> Result<(), CeleryError> {
    if let Some(content_type) = payload.header("content-type") {
        let (media, _parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !media.trim().eq_ignore_ascii_case("application/json") {
            return Err(CeleryError::ContentType(shown(content_type)));
        }
    }
    // kombu: `compression` names the format, and is missing without one.
    if let Some(compression) = payload.header("compression") {
        return Err(CeleryError::Encoding(shown(compression)));
    }
    let is_utf8 = |name: &str| ["utf-8", "utf8", "us-ascii"].contains(&&*name.to_ascii_lowercase());
    match payload.header(protocol::CONTENT_ENCODING) {
        Some(name) if !is_utf8(name) => Err(CeleryError::Encoding(shown(name))),
        _ => Ok(()),
    }
}

/// A moment as Python's `isoformat` writes it; without an offset it is UTC, as in a worker with `enable_utc`.
fn time(payload: &Payload, name: &'static str) -> Result<Option<DateTime<Utc>>, CeleryError> {
    let Some(value) = payload.header(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let with_offset = DateTime::parse_from_rfc3339(value).map(|moment| moment.to_utc());
    let without = || NaiveDateTime::parse_from_str(value, "%Y-%m-%dT%H:%M:%S%.f");
    with_offset
        .or_else(|_| without().map(|moment| moment.and_utc()))
        .map(Some)
        .map_err(|_| CeleryError::Time {
            name,
            value: shown(value),
        })
}
