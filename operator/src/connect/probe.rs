//! Whether the deployed bundle takes what 360dialog will send it: one event without a signature, one with.

use std::time::Duration;

use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use dialog360::webhook::{SIGNATURE_HEADER, sign_webhook};
use reqwest::StatusCode;
use runtime::tls::{NoTls, Tls};
use serde_json::json;

/// 360dialog waits for 5 s; a function that starts for the first time may take longer, once.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is wrong with the bundle, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BundleError {
    /// No answer.
    #[error(
        "the bundle does not answer at its webhook address: check that it is deployed and that its address is right"
    )]
    Silent,
    /// 404
    #[error(
        "the bundle does not serve this partner id (HTTP 404): add it to its partner ids and deploy it again, or \
         correct its address"
    )]
    NotServed,
    /// An unsigned event was taken.
    #[error(
        "whatever answers at the webhook address takes events without a signature (HTTP {0}): that is not the \
         bundle, correct its address"
    )]
    TakesUnsigned(u16),
    /// 401 for a signed event.
    #[error(
        "the bundle refuses an event signed with this partner's platform secret (HTTP 401): it has another one. \
         Correct platform_secret in the partner secret; if you just have, run the command again in five minutes"
    )]
    OtherSecret,
    /// 5xx
    #[error(
        "the bundle fails (HTTP {0}): look at the log of its function webhook; often the partner secret is missing \
         or malformed"
    )]
    Fails(u16),
    /// Anything else.
    #[error(
        "what answers at the webhook address is not the bundle (HTTP {0}): correct its address"
    )]
    Odd(u16),
}

/// The bundle's webhook address of one partner.
pub(crate) struct Probe {
    http: reqwest::Client,
    url: String,
    body: String,
}

impl Probe {
    /// The address `url` of `partner`; fails if no TLS can be set up.
    pub(crate) fn new(url: &str, partner: &PartnerId) -> Result<Self, NoTls> {
        let http = Tls::new()?
            .client()
            .timeout(PATIENCE)
            .build()
            .map_err(|_| NoTls)?;
        // Names no channel, so it is kept as it came and changes nothing. Always the same bytes, so it is kept once.
        let body = json!({"id": format!("connect-{partner}"), "event": "connect_test", "data": {}});
        Ok(Self {
            http,
            url: url.to_owned(),
            body: body.to_string(),
        })
    }

    /// An event without a signature must be refused. Leaves no trace.
    pub(crate) async fn refuses_unsigned(&self) -> Result<(), BundleError> {
        match self.post(None).await? {
            StatusCode::UNAUTHORIZED => Ok(()),
            status if status.is_success() => Err(BundleError::TakesUnsigned(status.as_u16())),
            status => Err(odd(status)),
        }
    }

    /// An event signed with the platform secret must be taken. The bundle keeps it, once.
    pub(crate) async fn takes_signed(&self, secret: &Secret) -> Result<(), BundleError> {
        let signature = sign_webhook(secret, self.body.as_bytes());
        match self.post(Some(signature)).await? {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => Err(BundleError::OtherSecret),
            status => Err(odd(status)),
        }
    }

    async fn post(&self, signature: Option<String>) -> Result<StatusCode, BundleError> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(self.body.clone());
        let request = signature
            .into_iter()
            .fold(request, |request, it| request.header(SIGNATURE_HEADER, it));
        let answer = request.send().await.map_err(|_| BundleError::Silent)?;
        Ok(answer.status())
    }
}

fn odd(status: StatusCode) -> BundleError {
    match status {
        StatusCode::NOT_FOUND => BundleError::NotServed,
        status if status.is_server_error() => BundleError::Fails(status.as_u16()),
        status => BundleError::Odd(status.as_u16()),
    }
}
