//! The broker's alarms: under one, RabbitMQ stops reading from connections that send messages.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::check::Check;
use super::management::Management;
use super::report::Report;
use crate::stomp::{Client, SendFrame};

const NAME: &str = "broker.alarms";
const ADVICE: &str = "free memory or disk space on the broker, or raise its limits (vm_memory_high_watermark, \
                      disk_free_limit); until then no message is accepted, and rows wait";
/// How long a broker may take to answer two small frames.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Alarms {
    #[serde(default)]
    alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
struct Alarm {
    node: String,
    resource: String,
}

pub(super) async fn check(client: &Client, management: Option<&Management>, report: &mut Report) {
    if let Some(management) = management
        && let Some(check) = asked(management).await
    {
        return report.push(check);
    }
    report.push(tried(client).await);
}

/// The alarms that the management API lists; `None` if it does not.
async fn asked(management: &Management) -> Option<Check> {
    match management.request("/api/health/checks/alarms").await {
        Ok((200, _)) => Some(Check::ok(NAME, "none")),
        Ok((503, body)) => {
            let alarms: Alarms = serde_json::from_slice(&body).ok()?;
            let shown: Vec<String> = alarms
                .alarms
                .iter()
                .map(|alarm| format!("{} on {}", alarm.resource, alarm.node))
                .collect();
            let text = format!("the broker has an alarm: {}", shown.join(", "));
            Some(Check::error(NAME, text, ADVICE))
        }
        _ => None,
    }
}

/// Whether the broker still answers a connection after it has sent a message: the message is for a queue that does
/// not exist, so that it is dropped.
async fn tried(client: &Client) -> Check {
    let queue = format!("outbox-doctor-{}", uuid::Uuid::new_v4());
    let Some(address) = client.broker().dropping_address(&queue) else {
        return match timeout(PATIENCE, client.ping()).await {
            Ok(Ok(())) => Check::ok(
                NAME,
                "the broker answers; whether it accepts messages was not tried",
            ),
            Ok(Err(error)) => Check::error(NAME, error, "look at the broker's log"),
            Err(_) => silent(),
        };
    };
    let sent = async {
        client.send(SendFrame::new(address, "")).await?;
        client.ping().await
    };
    match timeout(PATIENCE, sent).await {
        Ok(Ok(())) => Check::ok(NAME, "none: the broker answers after a message"),
        Ok(Err(error)) => Check::unknown(
            NAME,
            error,
            "run `rabbitmq-diagnostics alarms` on the broker's machine",
        ),
        Err(_) => silent(),
    }
}

fn silent() -> Check {
    Check::error(
        NAME,
        format_args!(
            "the broker does not answer within {PATIENCE:?}: it has an alarm, or stands still"
        ),
        ADVICE,
    )
}
