//! The settings: what is allowed, and still likely to be a mistake.

use super::check::Check;
use super::queues::Subscribed;
use super::report::Report;
use crate::config::{Config, DeadLetter, SubscriptionConfig};
use crate::runtime::cleanup::LEAST_INBOX_DAYS;

pub(super) const NAME: &str = "settings";
const SUBSCRIPTION: &str = "settings.subscription";

/// Checks settings that can be read, and returns the queues of the subscriptions.
pub(super) fn check(
    config: &Config,
    subscriptions: &[&SubscriptionConfig],
    report: &mut Report,
) -> Vec<Subscribed> {
    match config.validate() {
        Ok(()) => report.push(Check::ok(NAME, "all values are allowed")),
        Err(error) => {
            for check in super::of_settings(&error).checks() {
                report.push(check.clone());
            }
        }
    }
    if config.inbox_days_to_keep < LEAST_INBOX_DAYS {
        report.push(Check::warning(
            NAME,
            format_args!(
                "inbox_days_to_keep is {}, and the inbox is kept for {LEAST_INBOX_DAYS} day: a message that is \
                 redelivered later has its effect twice",
                config.inbox_days_to_keep
            ),
            "set inbox_days_to_keep to more days than the broker keeps messages",
        ));
    }
    let has_tls = config
        .stomp_options()
        .is_ok_and(|options| options.has_tls());
    if has_tls && !config.tls_verify {
        report.push(Check::warning(
            NAME,
            "tls_verify is false: anyone between this machine and the broker can read and change everything",
            "set tls_verify to true, and tls_ca_file to the authority that signed the broker's certificate",
        ));
    }
    of_subscriptions(subscriptions, report)
}

fn of_subscriptions(subscriptions: &[&SubscriptionConfig], report: &mut Report) -> Vec<Subscribed> {
    let mut all: Vec<Subscribed> = Vec::new();
    for subscription in subscriptions {
        let destination = subscription.destination.as_str();
        let queue = Subscribed::new(subscription).and_then(|queue| {
            let conflict = all.iter().find_map(|other| other.conflict_with(&queue));
            conflict.map_or(Ok(queue), Err)
        });
        let queue = match queue {
            Ok(queue) => queue,
            Err(error) => {
                let advice = "change the subscription; `subscribe` refuses it";
                report.push(Check::error(SUBSCRIPTION, error, advice).about(destination));
                continue;
            }
        };
        let mut is_fine = true;
        let mut warn = |text: String, advice: &str| {
            is_fine = false;
            report.push(Check::warning(SUBSCRIPTION, text, advice).about(destination));
        };
        if subscription.config.dead_letter == DeadLetter::None {
            warn(
                "dead_letter is none: a message that cannot be handled is dropped".to_owned(),
                "set dead_letter to outbox, unless these messages may be lost",
            );
        }
        let deleting = queue.queue.deleting_headers();
        if !deleting.is_empty() {
            warn(
                format!(
                    "the broker deletes dead letters because of {}",
                    deleting.join(", ")
                ),
                "remove these from dead_letter_headers, unless dead letters may be lost",
            );
        }
        if is_fine {
            let text = format!(
                "queue {}, {} at a time, up to {} delivered ahead",
                queue.queue.name, subscription.config.workers, queue.queue.prefetch
            );
            report.push(Check::ok(SUBSCRIPTION, text).about(destination));
        }
        all.push(queue);
    }
    all
}
