//! Certificates of the broker and of this side, and the time until they expire.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::check::Check;
use super::report::Report;
use crate::config::Config;
use crate::stomp::{Options, ServerCertificate, Tls, certificate_expiry, certificates_in};

pub(super) const TLS: &str = "broker.tls";
const CLIENT: &str = "broker.client_certificate";

/// Fewer days than this are a warning.
const SOON: i64 = 30;

/// The certificates that a broker has sent, and that were accepted.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<Vec<u8>>>>);

impl Seen {
    /// Options that keep the broker's certificates here.
    pub(super) fn observe(&self, options: Options, tls: Tls) -> Options {
        let seen = self.clone();
        options.tls(tls.validator(move |sent: &ServerCertificate<'_>| {
            let all = std::iter::once(sent.certificate).chain(sent.intermediates.iter().copied());
            *seen.0.lock().unwrap_or_else(PoisonError::into_inner) =
                all.map(<[u8]>::to_vec).collect();
            Ok::<(), Infallible>(())
        }))
    }

    /// The line about a broker that was connected with TLS.
    pub(super) fn check(&self) -> Check {
        let chain = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        lasting(
            TLS,
            &chain,
            "the broker's certificate",
            "renew the broker's certificate, and those of the authorities that it sends",
        )
    }
}

/// The line about the client certificate, if one is set and the broker has TLS.
pub(super) fn of_client(config: &Config, options: &Options, report: &mut Report) {
    let Some(path) = config
        .tls_cert_file
        .as_deref()
        .filter(|_| options.has_tls())
    else {
        return;
    };
    report.push(match certificates_in(path) {
        Ok(chain) => lasting(
            CLIENT,
            &chain,
            "the client certificate",
            "renew the file of tls_cert_file; the next connection uses it",
        ),
        Err(error) => Check::error(CLIENT, error, "correct tls_cert_file"),
    });
}

fn lasting(name: &'static str, chain: &[Vec<u8>], what: &str, advice: &str) -> Check {
    let ends = chain
        .iter()
        .map(|certificate| certificate_expiry(certificate));
    match ends
        .collect::<Option<Vec<_>>>()
        .and_then(|ends| ends.into_iter().min())
    {
        Some(end) => until(name, what, end, Utc::now(), advice),
        None => Check::unknown(name, format_args!("{what} cannot be read"), advice),
    }
}

/// The line about a chain whose first certificate expires at this time.
fn until(
    name: &'static str,
    what: &str,
    end: DateTime<Utc>,
    now: DateTime<Utc>,
    advice: &str,
) -> Check {
    let days = (end - now).num_days();
    let date = end.format("%Y-%m-%d");
    if end <= now {
        return Check::error(name, format_args!("{what} expired on {date}"), advice);
    }
    let text = format!("{what} expires in {days} days, on {date}");
    match days {
        0..SOON => Check::warning(name, text, advice),
        _ => Check::ok(name, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use chrono::TimeDelta;

    #[test]
    fn a_month_before_its_end_a_certificate_is_a_warning() {
        let now = Utc::now();
        for (hours, verdict, text) in [
            (-1, Verdict::Error, "expired on"),
            (1, Verdict::Warning, "expires in 0 days"),
            (29 * 24 + 1, Verdict::Warning, "expires in 29 days"),
            (30 * 24 + 1, Verdict::Ok, "expires in 30 days"),
        ] {
            let end = now + TimeDelta::hours(hours);
            let check = until(TLS, "it", end, now, "renew it");
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.text.contains(text), "{check:?}");
        }
    }
}
