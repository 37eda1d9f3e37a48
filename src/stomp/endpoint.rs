//! The address of one broker, from its URL.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::url_error::UrlError;

const PORT: u16 = 61613;
const TLS_PORT: u16 = 61614;

/// The address of a broker and the credentials for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) login: String,
    pub(crate) passcode: String,
    pub(crate) virtual_host: String,
    pub(crate) has_tls: bool,
}

impl Endpoint {
    /// Parses one URL or a comma-separated list; `failover:(…)` around the list is ignored.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, UrlError> {
        let text = text.trim();
        let inner = match text.split_once(':') {
            Some((scheme, list)) if scheme.eq_ignore_ascii_case("failover") => {
                let list = list.trim_start_matches("//");
                match list.strip_prefix('(') {
                    Some(list) => list.strip_suffix(')').ok_or(UrlError::Failover)?,
                    None => list,
                }
            }
            _ => text,
        };
        // A comma in a password does not separate: only one before a new URL does.
        let mut starts = vec![0];
        let lower = inner.to_ascii_lowercase();
        for (at, _) in lower.match_indices(',') {
            let rest = lower[at + 1..].trim_start();
            let scheme = rest.split(':').next().unwrap_or_default();
            if rest.starts_with(&format!("{scheme}://")) && is_scheme(scheme) {
                starts.push(at + 1);
            }
        }
        starts.push(inner.len() + 1);
        starts
            .windows(2)
            .map(|pair| Self::parse(&inner[pair[0]..pair[1] - 1]))
            .collect()
    }

    fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let scheme = url.split(':').next().unwrap_or_default();
        let has_tls = match scheme.to_ascii_lowercase().as_str() {
            "stomp" => false,
            "stomp+ssl" | "stomp+tls" | "stomps" => true,
            _ => return Err(UrlError::Scheme),
        };
        if has_tls && cfg!(not(feature = "tls")) {
            return Err(UrlError::WithoutTls);
        }
        // Checked before the URL is parsed: the parser would take a part of such a password for the
        // host or the port.
        if url.contains('#') {
            return Err(UrlError::Fragment);
        }
        if url.contains('?') {
            return Err(UrlError::Query);
        }
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        if path.contains('@') {
            return Err(UrlError::AtInPath);
        }
        let url = Url::parse(url)?;
        let host = match url.host() {
            Some(Host::Domain(name)) => decode("host", name)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(UrlError::MissingHost);
        }
        let usual = if has_tls { TLS_PORT } else { PORT };
        let port = url.port().unwrap_or(usual);
        if port == 0 {
            return Err(UrlError::PortZero);
        }
        let (login, passcode) = match (url.username(), url.password()) {
            ("", None) => ("guest", "guest"),
            (login, passcode) => (login, passcode.unwrap_or_default()),
        };
        let virtual_host = match url.path() {
            "" | "/" => "/",
            path => path.strip_prefix('/').unwrap_or(path),
        };
        Ok(Self {
            host,
            port,
            login: decode("user", login)?,
            passcode: decode("password", passcode)?,
            virtual_host: decode("virtual host", virtual_host)?,
            has_tls,
        })
    }

    /// `host:port`, for logs.
    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    !text.is_empty() && text.chars().all(fits)
}

fn decode(part: &'static str, text: &str) -> Result<String, UrlError> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| UrlError::NotUtf8(part))?;
    if text.contains(['\r', '\n', '\0']) {
        return Err(UrlError::ControlCharacter(part));
    }
    Ok(text)
}
