//! The environment as a source.

use std::ffi::{OsStr, OsString};

use super::error::ConfigError;
use super::key::{self, PREFIX};
use super::layer::Layer;
use super::origin::Origin;
use super::settings::KEYS;

/// The variable that names the file.
pub(super) const CONFIG_VARIABLE: &str = "OUTBOX_CONFIG";

/// The settings among these variables, and an error for each that is not UTF-8.
pub(super) fn read(variables: &[(OsString, OsString)]) -> (Layer, Vec<ConfigError>) {
    let mut layer = Layer::default();
    let mut problems = Vec::new();
    let mut take = |key: &str, variable: &str, text: &OsStr| match text.to_str() {
        Some(text) => {
            layer.insert(key, text.into(), Origin::Environment(variable.to_owned()));
        }
        None => problems.extend(key::find(key).map(|key| ConfigError::BadValue {
            key: key.name,
            value: (!key.secret).then(|| format!("{text:?}")),
            origin: Origin::Environment(variable.to_owned()),
            expected: "text in UTF-8".to_owned(),
        })),
    };
    let find = |name: &str| {
        variables
            .iter()
            .find(|(variable, _)| variable.as_os_str() == name)
    };
    for key in KEYS {
        let name = key.env();
        let bare = || key.bare_env().and_then(|bare| Some((bare, find(bare)?)));
        if let Some((_, text)) = find(&name) {
            take(key.name, &name, text);
        } else if let Some((bare, (_, text))) = bare() {
            take(key.name, bare, text);
        }
    }
    for (variable, _) in variables {
        let variable = variable.to_string_lossy();
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        if !KEYS.iter().any(|key| key.env() == variable) && !is_for_others(rest) {
            let origin = Origin::Environment(variable.clone().into_owned());
            // It is not the name of a setting, and the value is not used.
            layer.insert(&variable, "".into(), origin);
        }
    }
    (layer, problems)
}

/// Whether `OUTBOX_` and this is a variable of another purpose, and not a mistake.
fn is_for_others(rest: &str) -> bool {
    // The file's name; the servers of the tests; the headers that a program started for a message
    // gets, which may use this crate itself.
    if matches!(rest, "CONFIG" | "HEADERS_LEFT_OUT")
        || rest.starts_with("TEST_")
        || rest.starts_with("HEADER_")
    {
        return true;
    }
    // Kubernetes sets these in every container for a service named `outbox` or `outbox-…`
    // (documentation, "Accessing the Service").
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    format!("_{rest}")
        .split_once("_SERVICE_HOST")
        .is_some_and(|(_, end)| end.is_empty())
        || format!("_{rest}").contains("_SERVICE_PORT")
        || format!("_{rest}")
            .split_once("_PORT")
            .is_some_and(|(_, end)| {
                end.is_empty()
                    || end
                        .strip_prefix('_')
                        .is_some_and(|end| is_number(end.split('_').next().unwrap_or_default()))
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_other_purposes_are_recognised() {
        for name in [
            "CONFIG",
            "TEST_POSTGRES",
            "HEADER_DOP_MSG_ID",
            "HEADERS_LEFT_OUT",
            "SERVICE_HOST",
            "RELAY_SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_80_TCP",
            "RELAY_PORT_80_TCP_ADDR",
        ] {
            assert!(is_for_others(name), "{name}");
        }
        for name in ["LOG", "CHUNK_SISE", "PORTS", "PORT_NAME", "CONFIGS", "TEST"] {
            assert!(!is_for_others(name), "{name}");
        }
    }
}
