//! Tests whether the deployed bundle accepts what 360dialog will send: one event without a signature, one with.

use std::time::Duration;

use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use dialog360::webhook::{SIGNATURE_HEADER, sign_webhook};
use reqwest::StatusCode;
use runtime::tls::{NoTls, Tls};
use serde_json::json;

/// The time-out of a request. 360dialog waits 5 s, but the first start of a function may take longer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why the bundle failed the test. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BundleError {
    /// No answer.
    #[error(
        "the bundle does not answer at its webhook address: check that it is deployed and that its address is right"
    )]
    NoAnswer,
    /// 404
    #[error(
        "the bundle does not serve this partner id (HTTP 404): add it to its partner ids and deploy it again, or \
         correct its address"
    )]
    NotServed,
    /// It accepted an unsigned event.
    #[error(
        "whatever answers at the webhook address takes events without a signature (HTTP {0}): that is not the \
         bundle, correct its address"
    )]
    TakesUnsigned(u16),
    /// 401 to a signed event.
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
    NotTheBundle(u16),
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
            .timeout(TIMEOUT)
            .build()
            .map_err(|_| NoTls)?;
        // It names no channel, so it changes nothing. Its bytes are always the same, so the bundle stores it once.
        let body = json!({"id": format!("connect-{partner}"), "event": "connect_test", "data": {}});
        Ok(Self {
            http,
            url: url.to_owned(),
            body: body.to_string(),
        })
    }

    /// Checks that an event without a signature is refused. It is not stored.
    pub(crate) async fn refuses_unsigned(&self) -> Result<(), BundleError> {
        match self.post(None).await? {
            StatusCode::UNAUTHORIZED => Ok(()),
            status if status.is_success() => Err(BundleError::TakesUnsigned(status.as_u16())),
            status => Err(unexpected(status)),
        }
    }

    /// Checks that an event signed with the platform secret is accepted. The bundle stores it, once.
    pub(crate) async fn takes_signed(&self, secret: &Secret) -> Result<(), BundleError> {
        let signature = sign_webhook(secret, self.body.as_bytes());
        match self.post(Some(signature)).await? {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => Err(BundleError::OtherSecret),
            status => Err(unexpected(status)),
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
        let answer = request.send().await.map_err(|_| BundleError::NoAnswer)?;
        Ok(answer.status())
    }
}

fn unexpected(status: StatusCode) -> BundleError {
    match status {
        StatusCode::NOT_FOUND => BundleError::NotServed,
        status if status.is_server_error() => BundleError::Fails(status.as_u16()),
        status => BundleError::NotTheBundle(status.as_u16()),
    }
}
