//! The Partner API for operators: it keeps the partner's limit together with the bundle, and waits if 360dialog asks for
//! it.
//!
//! Nothing here makes a key, so every call may be repeated.

use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind, Page, PartnerApi, PartnerClient, Query};
use dialog360::credentials::Credentials;
use dialog360::id::{ChannelId, PartnerId};
use runtime::tls::{NoTls, Tls};
use serde_json::Value;
use store::Works;

use super::call_error::{CallError, WAIT};
use super::clock_check::check_clock;
use super::decide::Seen;
use super::target::Target;
use super::turns::Turns;
use crate::instance::Instance;
use crate::reporter::Reporter;

/// The time-out of one call.
const CALL_TIME: Duration = Duration::from_secs(6);

/// The longest wait, since a person is waiting. If 360dialog asks for more, the command ends.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often one call is tried after a 429.
const TRIES: usize = 6;

/// How many pages of channels are read at most: 100,000 channels.
const MOST_PAGES: usize = 1000;

/// The Partner API, for one partner.
pub(crate) struct RateLimitedClient<'t> {
    api: PartnerApi,
    instance: &'t Instance,
    partner: PartnerId,
    credentials: Credentials,
    turns: Turns,
    clock: Clock,
}

/// State of this machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Unchecked,
    Right,
}

/// The failures of one call so far that were followed by another try.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    /// Answers with 429.
    waits: usize,
    /// Refused tokens.
    tokens: usize,
}

impl<'t> RateLimitedClient<'t> {
    /// The API that `target` names, for `partner`. Fails if no TLS can be set up.
    pub(crate) fn new(
        target: &'t Target<'t>,
        partner: &PartnerId,
        credentials: Credentials,
    ) -> Result<Self, NoTls> {
        let http = Tls::new()?.client().timeout(CALL_TIME).build();
        let http = http.map_err(|_| NoTls)?;
        let (settings, instance) = (target.connection_settings(), target.instance());
        let api = PartnerApi::new(http, settings.api.as_str(), settings.keys_path.clone());
        let works = Works::new(instance.table().clone());
        Ok(Self {
            // Each request takes a turn of its own.
            api: api.with_single_requests(),
            instance,
            partner: partner.clone(),
            credentials,
            turns: Turns::new(works, partner, target.rate()),
            clock: Clock::Unchecked,
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
    ) -> Result<Seen, CallError> {
        let answer = self.call(reporter, async |client| client.webhook_settings().await);
        seen(answer.await, "webhook_url")
    }

    /// Reads the redirect URL for links that name none. 360dialog does not document that it can be read.
    pub(crate) async fn redirect_url(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Seen, CallError> {
        let answer = self.call(reporter, async |client| client.partner_settings().await);
        seen(answer.await, "partner_redirect_url")
    }

    /// Sets the webhook URL. `None` is sent as an empty text, which is a guess.
    pub(crate) async fn set_webhook_url(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), CallError> {
        let url = url.unwrap_or_default();
        self.call(reporter, async |client| client.set_webhook_url(url).await)
            .await
    }

    /// Sets the redirect URL for links that name none. `None` is sent as an empty text, which is a guess.
    pub(crate) async fn set_redirect_url(
        &mut self,
        url: Option<&str>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), CallError> {
        let url = url.unwrap_or_default();
        self.call(reporter, async |client| client.set_redirect_url(url).await)
            .await
    }

    /// One page of the partner's channels.
    pub(crate) async fn page(
        &mut self,
        query: &Query,
        reporter: &mut Reporter<'_>,
    ) -> Result<Page, CallError> {
        self.call(reporter, async |client| client.page(query).await)
            .await
    }

    /// The ids of all channels.
    pub(crate) async fn all_channels(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<ChannelId>, CallError> {
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
        // The end of the list is no call.
        while pages.has_more() {
            let mut tries = Tries::default();
            let page = loop {
                self.take_turn(reporter).await?;
                match pages.next().await {
                    Err(why) => tries = self.wait_for_retry(why, tries, reporter).await?,
                    Ok(page) => break page,
                }
            };
            let channels = page.unwrap_or_default().into_iter();
            ids.extend(channels.map(|channel| channel.id));
        }
        Ok(ids)
    }

    /// How many keys a channel has.
    pub(crate) async fn count_keys(
        &mut self,
        channel: &ChannelId,
        reporter: &mut Reporter<'_>,
    ) -> Result<usize, CallError> {
        let ids = self.call(reporter, async |client| client.key_ids(channel).await);
        Ok(ids.await?.len())
    }

    /// Makes a call in a turn of its own, and repeats it after a 429, or with another token.
    async fn call<T>(
        &mut self,
        reporter: &mut Reporter<'_>,
        request: impl AsyncFn(PartnerClient<'_>) -> Result<T, ApiError>,
    ) -> Result<T, CallError> {
        let mut tries = Tries::default();
        loop {
            self.take_turn(reporter).await?;
            let client = self.api.for_partner(&self.partner, &self.credentials);
            match request(client).await {
                Err(why) => tries = self.wait_for_retry(why, tries, reporter).await?,
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Waits until a call may be made, and counts it. A login that it needs is a call of its own, and is made here.
    async fn take_turn(&mut self, reporter: &mut Reporter<'_>) -> Result<(), CallError> {
        let instance = self.instance;
        let failed = |why| CallError::not_counted(why, instance);
        if self.clock == Clock::Unchecked {
            let checked = check_clock(instance.table(), &self.partner).await;
            checked.map_err(failed)??;
            self.clock = Clock::Right;
        }
        let client = self.api.for_partner(&self.partner, &self.credentials);
        if client.needs_login().await {
            self.turns.wait(reporter).await.map_err(failed)?;
            client.log_in().await?;
        }
        self.turns.wait(reporter).await.map_err(failed)
    }

    /// Waits as long as a 429 asks for, and returns the tries so far. A refused token is replaced once, without a wait. Any
    /// other error, and a 429 with too long a wait, is returned as the error.
    async fn wait_for_retry(
        &self,
        why: ApiError,
        tries: Tries,
        reporter: &mut Reporter<'_>,
    ) -> Result<Tries, ApiError> {
        let wait = match (why.kind, &self.credentials) {
            (ErrorKind::RateLimited(wait), _) => wait.unwrap_or(WAIT),
            (ErrorKind::BadCredentials, Credentials::Login(_)) if tries.tokens == 0 => {
                return Ok(Tries { tokens: 1, ..tries });
            }
            _ => return Err(why),
        };
        let waits = tries.waits.saturating_add(1);
        if waits >= TRIES || wait > LONGEST_WAIT {
            let kind = ErrorKind::RateLimited(Some(wait));
            return Err(ApiError { kind, ..why });
        }
        let text = format!("{} s, as 360dialog asks to (HTTP 429)", wait.as_secs());
        reporter.item("waiting", &text);
        tokio::time::sleep(wait).await;
        Ok(Tries { waits, ..tries })
    }
}

/// The address in an answer, or why there is none. Fails with errors that any other call would get too.
fn seen(answer: Result<Value, CallError>, name: &str) -> Result<Seen, CallError> {
    let body = match answer {
        Ok(body) => body,
        Err(CallError::Api(why)) if why.kind == ErrorKind::NotFound => {
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
        let refused = |kind: ErrorKind| seen(Err(ApiError::from(kind).into()), "x");
        let seen = refused(ErrorKind::NotFound);
        assert!(matches!(seen, Ok(Seen::Unknown(_))));
        let error = refused(ErrorKind::BadCredentials);
        let expected = ErrorKind::BadCredentials;
        assert!(matches!(error, Err(CallError::Api(why)) if why.kind == expected));
    }
}
