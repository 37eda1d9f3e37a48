//! RabbitMQ's management API: <https://www.rabbitmq.com/docs/http-api-reference>. It is only read.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::check::Check;
use super::queue_object::QueueObject;
use super::report::Report;
use super::routes::TOPICS;
use crate::config::Config;
use crate::http_client::{self, GetError};
use crate::stomp::{Endpoint, Tls};

const NAME: &str = "broker.management";
/// The ports of the plugin, without and with TLS.
const PORTS: (u16, u16) = (15_672, 15_671);
/// The type of queues if nothing else is configured.
const CLASSIC: &str = "classic";
/// A longer answer is not read.
const LONGEST: usize = 64 << 20;

/// Why the management API gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManagementError {
    #[error("{0}")]
    Unreachable(String),
    #[error("the user may not use it")]
    Refused,
    #[error("it answers with the status {0}")]
    Status(u16),
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Debug, Deserialize)]
struct VirtualHostObject {
    default_queue_type: Option<String>,
}

/// A management API that answers, and what to ask it about.
pub(super) struct Management {
    scheme: String,
    host: String,
    port: u16,
    /// The part of the path before `/api`.
    prefix: String,
    authorization: String,
    /// The virtual host, encoded for a path.
    virtual_host: String,
    /// The type of queues that are declared without one; `None` if the API does not show it.
    default_queue_type: Option<String>,
    tls: Tls,
    limit: Duration,
}

impl Management {
    /// The management API of a broker, if it answers.
    pub(super) async fn find(
        config: &Config,
        endpoint: &Endpoint,
        report: &mut Report,
    ) -> Option<Self> {
        let mut management = Self::of(config, endpoint)?;
        let address = management.address();
        let virtual_host = &endpoint.virtual_host;
        let outcome: Result<Option<serde_json::Value>, _> = management.get("/api/whoami").await;
        let (check, found) = match outcome {
            Ok(_) if management.hides_virtual_host().await => (
                Check::warning(
                    NAME,
                    format_args!(
                        "does not show the virtual host {virtual_host}: queues and bindings cannot be checked"
                    ),
                    format_args!(
                        "if it belongs to another broker than stomp_url, set management_url; else give its user \
                         permissions there: `rabbitmqctl set_permissions -p '{virtual_host}' USER '^$' '^$' '^$'` \
                         lets the user see it and change nothing"
                    ),
                ),
                None,
            ),
            Ok(_) => {
                management.default_queue_type = management.find_default_queue_type().await;
                (Check::ok(NAME, "answers"), Some(management))
            }
            Err(ManagementError::Refused) => (
                Check::warning(
                    NAME,
                    "refuses this user: queues and bindings cannot be checked",
                    "`rabbitmqctl set_user_tags USER management` for the user of stomp_url, or set management_url \
                     with another user",
                ),
                None,
            ),
            Err(error) => (
                Check::warning(
                    NAME,
                    format_args!(
                        "does not answer, so queues and bindings cannot be checked: {error}"
                    ),
                    "`rabbitmq-plugins enable rabbitmq_management`, or set management_url if it has another address",
                ),
                None,
            ),
        };
        report.push(check.about(&address));
        found
    }

    /// The API at the address of the settings, else at the usual port of the broker's host.
    fn of(config: &Config, endpoint: &Endpoint) -> Option<Self> {
        let url = match &config.management_url {
            Some(url) => Url::parse(url.expose().trim()).ok()?,
            None => {
                let (scheme, port) = match endpoint.has_tls {
                    true => ("https", PORTS.1),
                    false => ("http", PORTS.0),
                };
                let host = match endpoint.host.contains(':') {
                    true => format!("[{}]", endpoint.host),
                    false => endpoint.host.clone(),
                };
                Url::parse(&format!("{scheme}://{host}:{port}/")).ok()?
            }
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = match (url.username(), url.password()) {
            ("", None) => (endpoint.login.clone(), endpoint.passcode.clone()),
            (user, password) => (decoded(user), decoded(password.unwrap_or_default())),
        };
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: match url.host()? {
                Host::Domain(name) => name.to_owned(),
                Host::Ipv4(address) => address.to_string(),
                Host::Ipv6(address) => address.to_string(),
            },
            port: url.port_or_known_default()?,
            prefix: url.path().trim_end_matches('/').to_owned(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            virtual_host: encoded(&endpoint.virtual_host),
            default_queue_type: None,
            tls: config.tls(),
            limit: config.connect_timeout,
        })
    }

    /// The address, without the user.
    fn address(&self) -> String {
        format!("{}://{}{}/", self.scheme, self.place(), self.prefix)
    }

    fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The object below `/api/KIND/VIRTUAL-HOST`, with further parts of the path; `None` if it does not exist.
    pub(super) async fn object<T: DeserializeOwned>(
        &self,
        kind: &str,
        name: &str,
        further: &str,
    ) -> Result<Option<T>, ManagementError> {
        let path = format!(
            "/api/{kind}/{}/{}{further}",
            self.virtual_host,
            encoded(name)
        );
        self.get(&path).await
    }

    /// A queue of the virtual host; `None` if it does not exist.
    pub(super) async fn queue(&self, name: &str) -> Result<Option<QueueObject>, ManagementError> {
        let found: Option<QueueObject> = self.object("queues", name, "").await?;
        Ok(found.map(|queue| queue.where_default_is(self.default_queue_type.clone())))
    }

    /// Whether it does not have the virtual host or does not show it to this user. RabbitMQ 3.10 answers 401 then, and
    /// 4.3 answers 404 for each queue and exchange, so it is asked about one that each virtual host has. Only
    /// administrators may ask about the virtual host itself.
    async fn hides_virtual_host(&self) -> bool {
        let found: Result<Option<serde_json::Value>, _> =
            self.object("exchanges", TOPICS, "").await;
        matches!(found, Ok(None) | Err(ManagementError::Refused))
    }

    async fn find_default_queue_type(&self) -> Option<String> {
        let path = format!("/api/vhosts/{}", self.virtual_host);
        let found: VirtualHostObject = self.get(&path).await.ok()??;
        // RabbitMQ has it from 3.11 on.
        let named = found.default_queue_type.filter(|name| name != "undefined");
        Some(named.unwrap_or_else(|| CLASSIC.to_owned()))
    }

    /// The answer to a GET; `None` if there is no such object.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ManagementError> {
        match self.request(path).await? {
            (200, body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| ManagementError::Unreadable(error.to_string())),
            (404, _) => Ok(None),
            (401 | 403, _) => Err(ManagementError::Refused),
            (status, _) => Err(ManagementError::Status(status)),
        }
    }

    /// The status and the body of the answer to a GET.
    pub(super) async fn request(&self, path: &str) -> Result<(u16, Bytes), ManagementError> {
        match tokio::time::timeout(self.limit, self.connect(path)).await {
            Ok(answer) => answer,
            Err(_) => Err(ManagementError::Unreachable(format!(
                "no answer within {:?}",
                self.limit
            ))),
        }
    }

    async fn connect(&self, path: &str) -> Result<(u16, Bytes), ManagementError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        if self.scheme != "https" {
            return self.exchange(stream, path).await;
        }
        let tls = self.tls.prepare().await.map_err(unreachable)?;
        let stream = self
            .tls
            .connect(tls, &self.host, stream)
            .await
            .map_err(unreachable)?;
        self.exchange(stream, path).await
    }

    async fn exchange<S>(&self, stream: S, path: &str) -> Result<(u16, Bytes), ManagementError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let path = format!("{}{path}", self.prefix);
        let headers = [
            (AUTHORIZATION, self.authorization.as_str()),
            (ACCEPT, "application/json"),
        ];
        let answer = http_client::get(stream, &self.place(), &path, &headers, LONGEST).await;
        answer.map_err(|error| match error {
            GetError::Exchange(error) => unreachable(error),
            GetError::Body(error) => ManagementError::Unreadable(error.to_string()),
        })
    }
}

fn unreachable(error: impl std::fmt::Display) -> ManagementError {
    ManagementError::Unreachable(error.to_string())
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn of(stomp_url: &str, management_url: Option<&str>) -> Management {
        let config = Config {
            stomp_url: Secret::new(stomp_url),
            management_url: management_url.map(Secret::new),
            ..Config::default()
        };
        let options = config.stomp_options().unwrap();
        Management::of(&config, options.endpoint().unwrap()).unwrap()
    }

    #[test]
    fn the_address_follows_from_that_of_the_broker() {
        let basic = |user: &str| format!("Basic {}", STANDARD.encode(user));
        for (stomp, management, address, user, virtual_host) in [
            ("stomp://a", None, "http://a:15672/", "guest:guest", "%2F"),
            (
                "stomp://u:p%40@[::1]:7/v/w",
                None,
                "http://[::1]:15672/",
                "u:p@",
                "v%2Fw",
            ),
            ("stomp+ssl://u:p@a", None, "https://a:15671/", "u:p", "%2F"),
            (
                "stomp://u:p@a",
                Some("http://b:8080/mq/"),
                "http://b:8080/mq/",
                "u:p",
                "%2F",
            ),
            (
                "stomp://a",
                Some("https://x:y%3A@b"),
                "https://b:443/",
                "x:y:",
                "%2F",
            ),
        ] {
            let found = of(stomp, management);
            assert_eq!(found.address(), address);
            assert_eq!(found.authorization, basic(user), "{address}");
            assert_eq!(found.virtual_host, virtual_host);
        }
    }
}
