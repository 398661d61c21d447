//! The Partner API for operators: it keeps 360dialog's rate limit, and waits if 360dialog asks for it.
//!
//! Nothing here makes a key, so every call may be repeated.

use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind, Page, PartnerApi, PartnerClient, Query, Rate};
use dialog360::credentials::Credentials;
use dialog360::id::{ChannelId, PartnerId};
use runtime::tls::{NoTls, Tls};
use serde_json::Value;
use tokio::time::Instant;

use super::decide::Seen;
use crate::instance::ConnectionSettings;
use crate::reporter::Reporter;

/// The time-out of one call.
const CALL_TIME: Duration = Duration::from_secs(6);

/// How many calls are made in [`SPAN`]. 360dialog has been seen to accept about five in 30 s. One of them is left to
/// the bundle, which reads and makes keys with the same credentials.
const CALLS: usize = 4;
/// The time span of the rate limit.
const SPAN: Duration = Duration::from_secs(30);

/// The wait after a 429 without `Retry-After`: the span of the rate limit.
const WAIT: Duration = SPAN;
/// The longest wait, since a person is waiting. If 360dialog asks for more, the command ends.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often one call is tried after a 429.
const TRIES: usize = 6;
/// A longer wait than this is printed.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// How many pages of channels are read at most: 100,000 channels.
const MOST_PAGES: usize = 1000;

/// What to do about an error of the Partner API.
pub(crate) fn advice(error: &ApiError) -> String {
    let advice = advice_by_kind(error.kind);
    match &error.message {
        Some(message) => format!("{advice} (360dialog says: {message})"),
        None => advice,
    }
}

fn advice_by_kind(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::BadCredentials => {
            "360dialog refuses the credentials (HTTP 401): correct partner_api_key or partner_token, or username and \
             password, in the partner secret"
                .to_owned()
        }
        ErrorKind::NotPermitted => {
            "360dialog does not permit it (HTTP 403): ask 360dialog to open the Partner API for these credentials"
                .to_owned()
        }
        ErrorKind::NotFound => {
            "360dialog knows nothing of the kind (HTTP 404 or 405): check the partner id and the Partner API's address"
                .to_owned()
        }
        ErrorKind::RateLimited(wait) => {
            let minutes = wait.unwrap_or(WAIT).as_secs().div_ceil(60).max(1);
            format!("360dialog asks to wait longer (HTTP 429): run the command again in {minutes} minutes")
        }
        ErrorKind::Status(status) => format!(
            "360dialog did not do it (HTTP {status}): run the command again, and ask 360dialog if it stays so"
        ),
        ErrorKind::Unreadable(what) => format!(
            "360dialog's answer cannot be understood ({what}): check the Partner API's address"
        ),
        ErrorKind::Silent => {
            "360dialog does not answer: check the Partner API's address and this machine's network, and run the \
             command again"
                .to_owned()
        }
    }
}

/// The Partner API, for one partner.
pub(crate) struct RateLimitedClient {
    api: PartnerApi,
    partner: PartnerId,
    credentials: Credentials,
    rate: Option<Rate>,
}

impl RateLimitedClient {
    /// The API of `settings` for `partner`. A simulated one has no rate limit. Fails if no TLS can be set up.
    pub(crate) fn new(
        settings: &ConnectionSettings,
        is_simulated: bool,
        partner: &PartnerId,
        credentials: Credentials,
    ) -> Result<Self, NoTls> {
        let http = Tls::new()?.client().timeout(CALL_TIME).build();
        let http = http.map_err(|_| NoTls)?;
        Ok(Self {
            api: PartnerApi::new(http, settings.api.as_str(), settings.keys_path.clone()),
            partner: partner.clone(),
            credentials,
            rate: (!is_simulated).then(|| Rate::new(CALLS, SPAN)),
        })
    }

    /// Describes how the credentials are sent.
    pub(crate) fn credential_form(&self) -> &'static str {
        match self.credentials {
            Credentials::ApiKey(_) => "partner_api_key, as X-API-Key",
            Credentials::Token(_) => "partner_token, as Authorization: Bearer",
            Credentials::Login(_) => "username and password, for tokens as Authorization: Bearer",
        }
    }

    /// Reads the webhook URL.
    pub(crate) async fn webhook_url(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Seen, ApiError> {
        let answer = self.call(reporter, async |client| client.webhook_settings().await);
        seen(answer.await, "webhook_url")
    }

    /// Reads the redirect URL for links that name none. 360dialog does not document that it can be read.
    pub(crate) async fn redirect_url(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Seen, ApiError> {
        let answer = self.call(reporter, async |client| client.partner_settings().await);
        seen(answer.await, "partner_redirect_url")
    }

    /// Sets the webhook URL. `None` is sent as an empty text, which is a guess.
    pub(crate) async fn set_webhook_url(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ApiError> {
        let url = url.unwrap_or_default();
        self.call(reporter, async |client| client.set_webhook_url(url).await)
            .await
    }

    /// Sets the redirect URL for links that name none. `None` is sent as an empty text, which is a guess.
    pub(crate) async fn set_redirect_url(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), ApiError> {
        let url = url.unwrap_or_default();
        self.call(reporter, async |client| client.set_redirect_url(url).await)
            .await
    }

    /// One page of the partner's channels.
    pub(crate) async fn page(
        &mut self,
        query: &Query,
        reporter: &mut Reporter<'_>,
    ) -> Result<Page, ApiError> {
        self.call(reporter, async |client| client.page(query).await)
            .await
    }

    /// The ids of all channels.
    pub(crate) async fn all_channels(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<ChannelId>, ApiError> {
        let (api, partner, credentials) = (
            self.api.clone(),
            self.partner.clone(),
            self.credentials.clone(),
        );
        let mut pages = api
            .for_partner(&partner, &credentials)
            .pages(None)
            .up_to(MOST_PAGES);
        let mut ids = Vec::new();
        loop {
            let mut tries = 1;
            let page = loop {
                self.wait_for_rate(reporter).await?;
                match pages.next().await {
                    Err(why) => tries = wait_for_retry(why, tries, reporter).await?,
                    Ok(page) => break page,
                }
            };
            let Some(channels) = page else { return Ok(ids) };
            ids.extend(channels.into_iter().map(|channel| channel.id));
        }
    }

    /// How many keys a channel has.
    pub(crate) async fn count_keys(
        &mut self,
        channel: &ChannelId,
        reporter: &mut Reporter<'_>,
    ) -> Result<usize, ApiError> {
        let ids = self.call(reporter, async |client| client.key_ids(channel).await);
        Ok(ids.await?.len())
    }

    /// Makes a call within the rate limit, and repeats it after a 429.
    async fn call<T>(
        &mut self,
        reporter: &mut Reporter<'_>,
        request: impl AsyncFn(PartnerClient<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut tries = 1;
        loop {
            self.wait_for_rate(reporter).await?;
            let client = self.api.for_partner(&self.partner, &self.credentials);
            match request(client).await {
                Err(why) => tries = wait_for_retry(why, tries, reporter).await?,
                answer => return answer,
            }
        }
    }

    /// Waits until a call may be made. A login that it needs is a call of its own, and is made here.
    async fn wait_for_rate(&mut self, reporter: &mut Reporter<'_>) -> Result<(), ApiError> {
        let api = self.api.clone();
        let (partner, credentials) = (self.partner.clone(), self.credentials.clone());
        let client = api.for_partner(&partner, &credentials);
        if client.needs_login().await {
            self.wait_for_slot(reporter).await;
            client.log_in().await?;
        }
        self.wait_for_slot(reporter).await;
        Ok(())
    }

    async fn wait_for_slot(&mut self, reporter: &mut Reporter<'_>) {
        let Some(rate) = &mut self.rate else { return };
        let wait = rate.wait(Instant::now().into_std());
        if wait > LONG_WAIT {
            let text = format!(
                "{} s: 360dialog takes few requests at a time",
                wait.as_secs()
            );
            reporter.item("waiting", &text);
        }
        tokio::time::sleep(wait).await;
        rate.count(Instant::now().into_std());
    }
}

/// Waits as long as a 429 asks for, and returns the number of the next try. Any other error, and a 429 with too long a
/// wait, is returned as the error.
async fn wait_for_retry(
    why: ApiError,
    tries: usize,
    reporter: &mut Reporter<'_>,
) -> Result<usize, ApiError> {
    let ErrorKind::RateLimited(wait) = why.kind else {
        return Err(why);
    };
    let wait = wait.unwrap_or(WAIT);
    if tries >= TRIES || wait > LONGEST_WAIT {
        let kind = ErrorKind::RateLimited(Some(wait));
        return Err(ApiError { kind, ..why });
    }
    let text = format!("{} s, as 360dialog asks to (HTTP 429)", wait.as_secs());
    reporter.item("waiting", &text);
    tokio::time::sleep(wait).await;
    Ok(tries + 1)
}

/// The address in an answer, or why there is none. Fails with errors that any other call would get too.
fn seen(answer: Result<Value, ApiError>, name: &str) -> Result<Seen, ApiError> {
    let body = match answer {
        Ok(body) => body,
        Err(why) if why.kind == ErrorKind::NotFound => {
            return Ok(Seen::Unknown("HTTP 404 or 405".to_owned()));
        }
        Err(why) => return Err(why),
    };
    let value = body.get(name).or_else(|| body.get("partner")?.get(name));
    Ok(match value {
        Some(Value::Null) => Seen::Nothing,
        Some(Value::String(url)) if url.trim().is_empty() => Seen::Nothing,
        Some(Value::String(url)) => Seen::Url(url.trim().to_owned()),
        _ => Seen::Unknown(format!("its answer has no {name}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_field_does_not_count_as_an_unset_address() {
        let read = |body: Value| seen(Ok(body), "webhook_url").unwrap();
        let url = Seen::Url("https://a.example/".to_owned());
        assert_eq!(read(json!({"webhook_url": " https://a.example/ "})), url);
        assert_eq!(
            read(json!({"partner": {"webhook_url": "https://a.example/"}})),
            url
        );
        for none in [
            json!({"webhook_url": null}),
            json!({"webhook_url": ""}),
            json!({"webhook_url": " "}),
        ] {
            assert_eq!(read(none), Seen::Nothing);
        }
        for odd in [
            json!({}),
            json!([]),
            json!("x"),
            json!({"webhook_url": 7}),
            Value::Null,
        ] {
            assert!(matches!(read(odd), Seen::Unknown(_)));
        }
        assert!(matches!(
            seen(Err(ErrorKind::NotFound.into()), "x"),
            Ok(Seen::Unknown(_))
        ));
        assert_eq!(
            seen(Err(ErrorKind::BadCredentials.into()), "x"),
            Err(ErrorKind::BadCredentials.into())
        );
    }
}
