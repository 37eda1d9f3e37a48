//! The broker: whether each address can be used, and what it says about itself.

use std::time::Duration;

use super::certificates::{self, Seen, TLS};
use super::check::Check;
use super::management::Management;
use super::queues::Subscribed;
use super::report::Report;
use super::{alarms, queues, routes};
use crate::backend::inspection::UsedDestination;
use crate::config::Config;
use crate::stomp::{Client, Error, ErrorKind, Options, TlsError};

const ADDRESS: &str = "broker.address";
const LOGIN: &str = "broker.login";
const VIRTUAL_HOST: &str = "broker.virtual_host";
const HEARTBEATS: &str = "broker.heartbeats";

/// One of the brokers, and the result of connecting to it.
struct Tried {
    options: Options,
    seen: Seen,
    client: Result<Client, Error>,
}

/// Checks the broker, and where rows and the subscriptions' messages go.
pub(super) async fn check(
    config: &Config,
    queues: &[Subscribed],
    used: Option<&[UsedDestination]>,
    report: &mut Report,
) {
    let Ok(options) = config.stomp_options() else {
        // Reported as a problem of the settings.
        return;
    };
    certificates::of_client(config, &options, report);
    let mut all = Vec::new();
    for options in options.of_each() {
        let seen = Seen::default();
        let client = Client::connect(&seen.observe(options.clone(), config.tls())).await;
        all.push(Tried {
            options,
            seen,
            client,
        });
    }
    let any_works = all.iter().any(|tried| tried.client.is_ok());
    for tried in &all {
        tried.describe(any_works, report);
    }
    let Some((client, options)) = all
        .iter()
        .find_map(|tried| Some((tried.client.as_ref().ok()?, &tried.options)))
    else {
        if !queues.is_empty() || used.is_some_and(|used| !used.is_empty()) {
            report.push(Check::unknown(
                routes::NAME,
                "no broker can be used; the queues are not checked either",
                "run this again when a broker answers",
            ));
        }
        return;
    };
    let management = match options.endpoint() {
        Some(endpoint) if client.broker().has_management_api() => {
            Management::find(config, endpoint, report).await
        }
        _ => None,
    };
    alarms::check(client, management.as_ref(), report).await;
    routes::check(client.broker(), management.as_ref(), used, report).await;
    queues::check(client.broker(), management.as_ref(), queues, report).await;
    for tried in &all {
        if let Ok(client) = &tried.client {
            client.abort();
        }
    }
}

impl Tried {
    fn describe(&self, any_works: bool, report: &mut Report) {
        let address = self.options.address();
        let mut push = |check: Check| report.push(check.about(&address));
        let client = match &self.client {
            Ok(client) => client,
            Err(error) => return push(failure(error, any_works)),
        };
        push(Check::ok(ADDRESS, "answers"));
        if self.options.has_tls() {
            push(self.seen.check());
        }
        let server = match client.server() {
            "" => "a broker that does not name itself",
            server => server,
        };
        let accepted = format!("accepted by {server}, STOMP {}", client.version().as_str());
        push(match client.broker().caveat() {
            None => Check::ok(LOGIN, accepted),
            Some(caveat) => Check::warning(
                LOGIN,
                format_args!("{accepted}: {caveat}"),
                "use RabbitMQ or ActiveMQ Classic, or try your whole way with this broker before you depend on it",
            ),
        });
        if let Some(endpoint) = self.options.endpoint() {
            push(Check::ok(VIRTUAL_HOST, &endpoint.virtual_host));
        }
        push(heartbeats(client.heartbeats()));
    }
}

/// What is wrong with a broker that cannot be used. If another one can, one that is away is only a warning.
fn failure(error: &Error, any_works: bool) -> Check {
    match error {
        Error::Tls { source, .. } => Check::error(TLS, error, about_tls(source)),
        Error::TlsTimeout { .. } => Check::error(
            TLS,
            error,
            "check that this port speaks TLS, or raise tls_timeout",
        ),
        Error::Refused { error_frame, .. } => match error_frame.kind() {
            ErrorKind::RefusedVirtualHost => Check::error(
                VIRTUAL_HOST,
                error,
                "correct the path of stomp_url, or create the virtual host and give the user rights on it; RabbitMQ says \
                 the same if the user or the virtual host has as many connections as it may have",
            ),
            _ => Check::error(
                LOGIN,
                error,
                "correct the user and the password in stomp_url",
            ),
        },
        Error::UnsupportedVersion { .. } => {
            Check::error(ADDRESS, error, "correct the setting stomp_versions")
        }
        Error::Resolve { .. }
        | Error::ResolveTimeout { .. }
        | Error::Connect { .. }
        | Error::ConnectTimeout { .. }
            if any_works =>
        {
            Check::warning(ADDRESS, error, AWAY)
        }
        Error::ConnectLost { .. }
        | Error::ConnectedTimeout { .. }
        | Error::UnexpectedFrame { .. } => Check::error(
            ADDRESS,
            error,
            "check that this port is the broker's STOMP port: with TLS the address begins with stomp+ssl://, \
                 without it with stomp://",
        ),
        _ => Check::error(ADDRESS, error, AWAY),
    }
}

const AWAY: &str = "start the broker with STOMP (RabbitMQ: the plugin rabbitmq_stomp), or correct the host and the \
                    port in stomp_url; a firewall may be in the way";

fn about_tls(error: &TlsError) -> &'static str {
    match error {
        TlsError::Expired { .. } => "renew the broker's certificate",
        TlsError::NotYetValid { .. } => "set this machine's clock",
        TlsError::UnknownIssuer { .. } => {
            "set tls_ca_file to the file of the authority that signed the broker's certificate"
        }
        TlsError::WrongName { .. } => {
            "use one of the certificate's names in stomp_url, or give the broker a certificate for this name"
        }
        TlsError::ClientCertificateMissing { .. } | TlsError::ClientCertificateRefused { .. } => {
            "set tls_cert_file and tls_key_file to a certificate that the broker accepts"
        }
        TlsError::NotTls { .. } => "use stomp:// or the broker's port for TLS in stomp_url",
        _ => "correct the settings tls_ca_file, tls_cert_file and tls_key_file",
    }
}

fn heartbeats((ours, theirs): (Option<Duration>, Option<Duration>)) -> Check {
    let shown = |interval: Option<Duration>| match interval {
        Some(interval) => format!("every {}", humantime::format_duration(interval)),
        None => "never".to_owned(),
    };
    let text = format!("we send {}, the broker {}", shown(ours), shown(theirs));
    match (ours, theirs) {
        (Some(_), Some(_)) => Check::ok(HEARTBEATS, text),
        _ => Check::warning(
            HEARTBEATS,
            format_args!("{text}: a connection that is dead is noticed late"),
            "set heartbeat_send and heartbeat_receive to a time other than 0, and allow heart-beats in the broker",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn heartbeats_that_are_off_are_a_warning() {
        let ten = Some(Duration::from_secs(10));
        let check = heartbeats((ten, ten));
        assert_eq!(check.text, "we send every 10s, the broker every 10s");
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(heartbeats((ten, None)).verdict, Verdict::Warning);
        assert_eq!(heartbeats((None, ten)).verdict, Verdict::Warning);
    }

    #[test]
    fn a_broker_that_is_away_is_a_warning_if_another_one_works() {
        let error = Error::ConnectTimeout {
            address: "b:1".to_owned(),
            after: Duration::from_secs(1),
        };
        assert_eq!(failure(&error, false).verdict, Verdict::Error);
        assert_eq!(failure(&error, true).verdict, Verdict::Warning);
    }
}
