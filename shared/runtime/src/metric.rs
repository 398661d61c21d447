//! Metrics for alarms and dashboards. A metric is a log event of its own; on AWS [`crate::lambda`] writes it in
//! CloudWatch's Embedded Metric Format, on one machine it is a log line.

use std::time::Duration;

/// The target of the log events that are metrics.
pub const TARGET: &str = "metric";

/// The namespace of all metrics.
pub const NAMESPACE: &str = "WhatsAppOnboarding";

/// For how many seconds the oldest due item has been due.
pub const OLDEST_DUE_AGE: &str = "OldestDueAge";

/// A key that waits for an operator.
pub const KEYS_BLOCKED: &str = "KeysBlocked";

/// The metrics that count something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A link was signed.
    Signatures,
    /// A webhook was stored, or had been stored before.
    WebhooksAccepted,
    /// A webhook's signature was missing or wrong.
    WebhooksRefused,
    /// An event had been stored before.
    WebhooksDuplicate,
    /// An event was kept without being understood.
    WebhooksUnknown,
    /// 360dialog still signs with the previous platform secret.
    PreviousSecretUses,
    /// A claim was refused: its client is another tenant's, or unknown to 360dialog.
    ClaimsRefused,
    /// A key was stored.
    KeysStored,
    /// 360dialog refused the partner's credentials.
    BadCredentials,
    /// An event was given up, since the bus had not accepted it for a day.
    EventsGivenUp,
    /// The heartbeat came through the table's stream.
    Heartbeats,
}

impl Metric {
    /// Its name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signatures => "Signatures",
            Self::WebhooksAccepted => "WebhooksAccepted",
            Self::WebhooksRefused => "WebhooksRefused",
            Self::WebhooksDuplicate => "WebhooksDuplicate",
            Self::WebhooksUnknown => "WebhooksUnknown",
            Self::PreviousSecretUses => "PreviousSecretUses",
            Self::ClaimsRefused => "ClaimsRefused",
            Self::KeysStored => "KeysStored",
            Self::BadCredentials => "BadCredentials",
            Self::EventsGivenUp => "EventsGivenUp",
            Self::Heartbeats => "Heartbeats",
        }
    }

    /// Adds one to the metric.
    pub fn count(self) {
        tracing::info!(target: TARGET, metric = self.name(), value = 1_u64, unit = "Count");
    }
}

/// Counts a key that waits for an operator, with its reason as a dimension.
pub fn key_blocked(reason: &str) {
    tracing::info!(target: TARGET, metric = KEYS_BLOCKED, value = 1_u64, unit = "Count", reason);
}

/// Records for how many seconds the oldest due item has been due; 0 if nothing is due.
pub fn oldest_due(age: Duration) {
    tracing::info!(target: TARGET, metric = OLDEST_DUE_AGE, value = age.as_secs(), unit = "Seconds");
}
