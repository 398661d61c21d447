//! Metrics for alarms and dashboards. A metric is a log event of its own; on AWS [`crate::lambda`] writes it in
//! CloudWatch's Embedded Metric Format, on one machine it is a log line.

use std::time::Duration;

/// The target of the log events that are metrics.
pub const TARGET: &str = "metric";

/// The namespace of all metrics.
pub const NAMESPACE: &str = "WhatsAppOnboarding";

/// How long the item that is due for longest has been due, s.
pub const OLDEST_DUE_AGE: &str = "OldestDueAge";

/// A key that waits for an operator.
pub const KEYS_BLOCKED: &str = "KeysBlocked";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// A link was signed.
    Signatures,
    /// A webhook was stored, or was there already.
    WebhooksAccepted,
    /// A webhook's signature was missing or wrong.
    WebhooksRefused,
    /// An event was there already.
    WebhooksDuplicate,
    /// An event was kept without being understood.
    WebhooksUnknown,
    /// The hub still signs with the previous platform secret.
    PreviousSecretUses,
    /// A key was stored.
    KeysStored,
    /// The hub refused the partner's own credentials.
    BadCredentials,
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
            Self::KeysStored => "KeysStored",
            Self::BadCredentials => "BadCredentials",
        }
    }

    /// Counts one.
    pub fn count(self) {
        tracing::info!(target: TARGET, metric = self.name(), value = 1_u64, unit = "Count");
    }
}

/// Counts a key that waits for an operator, by the stable word that says why.
pub fn key_blocked(reason: &str) {
    tracing::info!(target: TARGET, metric = KEYS_BLOCKED, value = 1_u64, unit = "Count", reason);
}

/// Says how long the item that is due for longest has been due, s; 0 if nothing is.
pub fn oldest_due(age: Duration) {
    tracing::info!(target: TARGET, metric = OLDEST_DUE_AGE, value = age.as_secs(), unit = "Seconds");
}
