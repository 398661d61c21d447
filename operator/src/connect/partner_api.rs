//! The Partner API, as far as connecting needs it: addresses, lists of channels and of keys. Nothing here makes a key.
//!
//! What is sent may be sent twice, so a 429 is waited out here; every other refusal goes to the caller.

use std::collections::VecDeque;
use std::time::Duration;

use onboarding::id::{ChannelId, PartnerId};
use onboarding::secret::{HubCredentials, Secret};
use platform::hub_api::{CALL_TIME, HubApi, KeysPath, NotRead, retry_after};
use platform::settings::BaseUrl;
use platform::tls::{NoTls, Tls};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::decide::Seen;
use super::voice::Voice;

/// 360dialog has been seen to take about five requests in 30 s; one of them is left to the bundle, which reads and
/// makes keys with the same credentials.
const REQUESTS: usize = 4;
/// In which time.
const WINDOW: Duration = Duration::from_secs(30);

/// How long a 429 without `Retry-After` is waited out: the window of the rate.
const WAIT: Duration = WINDOW;
/// The longest wait that is waited; a person has better things to do.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often one question is put, 429s and all.
const TRIES: usize = 6;

/// Channels asked for at once.
pub(crate) const PAGE: usize = 100;

/// Why 360dialog did not do it, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// 401
    #[error(
        "360dialog refuses the credentials (HTTP 401): correct partner_api_key or partner_token in the partner secret"
    )]
    BadCredentials,
    /// 403
    #[error(
        "360dialog does not permit it (HTTP 403): ask 360dialog to open the Partner API for these credentials"
    )]
    NotPermitted,
    /// 404 or 405
    #[error(
        "360dialog knows nothing of the kind (HTTP 404 or 405): check the partner id and the Partner API's address"
    )]
    NoSuchThing,
    /// 429, after all patience.
    #[error(
        "360dialog asks to wait longer (HTTP 429): run the command again in {} minutes",
        .0.as_secs().div_ceil(60).max(1)
    )]
    Later(Duration),
    /// Any other status.
    #[error(
        "360dialog did not do it (HTTP {0}): run the command again, and ask 360dialog if it stays so"
    )]
    Status(u16),
    /// An answer in no known form.
    #[error("360dialog's answer cannot be understood ({0}): check the Partner API's address")]
    Unclear(&'static str),
    /// No answer.
    #[error(
        "360dialog does not answer: check the Partner API's address and this machine's network, and run the \
         command again"
    )]
    Silent,
}

impl From<NotRead> for ApiError {
    fn from(why: NotRead) -> Self {
        match why {
            NotRead::BadCredentials => Self::BadCredentials,
            NotRead::NotPermitted => Self::NotPermitted,
            NotRead::Later(wait) => Self::Later(wait.unwrap_or(WAIT)),
            NotRead::NoSuchThing => Self::NoSuchThing,
            NotRead::Unclear(what) => Self::Unclear(what),
        }
    }
}

/// One page of a partner's channels.
pub(crate) struct Page {
    /// The channels, as they came.
    pub(crate) rows: Vec<Value>,
    /// How many there are on all pages, if the answer says so.
    pub(crate) total: Option<usize>,
}

/// Which channels are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    pub(crate) filters: Option<Value>,
}

/// The Partner API, for one partner.
pub(crate) struct PartnerApi {
    http: reqwest::Client,
    base: BaseUrl,
    hub: HubApi,
    partner: PartnerId,
    credentials: HubCredentials,
    rate: Rate,
}

impl PartnerApi {
    /// The API at `base` for `partner`; fails if no TLS can be set up.
    pub(crate) fn new(
        base: &BaseUrl,
        keys_path: &KeysPath,
        partner: &PartnerId,
        credentials: HubCredentials,
        rate: Rate,
    ) -> Result<Self, NoTls> {
        let tls = Tls::new()?;
        let http = tls.client().timeout(CALL_TIME).build().map_err(|_| NoTls)?;
        let hub = HubApi::new(base.clone(), keys_path.clone(), &tls)?;
        Ok(Self {
            http,
            base: base.clone(),
            hub,
            partner: partner.clone(),
            credentials,
            rate,
        })
    }

    /// How the credentials are sent, in words.
    pub(crate) fn credential_form(&self) -> &'static str {
        match self.credentials {
            HubCredentials::ApiKey(_) => "partner_api_key, as X-API-Key",
            HubCredentials::Token(_) => "partner_token, as Authorization: Bearer",
        }
    }

    /// Where webhooks go now.
    pub(crate) async fn webhook_url(&mut self, voice: &mut Voice<'_>) -> Result<Seen, ApiError> {
        let answer = self.ask(voice, Method::GET, "/webhook_url", None).await;
        seen(answer, "webhook_url")
    }

    /// Where browsers go whose link names no address. That this can be read is not documented.
    pub(crate) async fn redirect_url(&mut self, voice: &mut Voice<'_>) -> Result<Seen, ApiError> {
        let answer = self.ask(voice, Method::GET, "", None).await;
        seen(answer, "partner_redirect_url")
    }

    /// Sets where webhooks go; none is an empty text, which is a guess.
    pub(crate) async fn set_webhook_url(
        &mut self,
        url: Option<&str>,
        voice: &mut Voice<'_>,
    ) -> Result<(), ApiError> {
        let body = json!({"webhook_url": url.unwrap_or_default()});
        self.ask(voice, Method::POST, "/webhook_url", Some(&body))
            .await
            .map(drop)
    }

    /// Sets where browsers go whose link names no address; none is an empty text, which is a guess.
    pub(crate) async fn set_redirect_url(
        &mut self,
        url: Option<&str>,
        voice: &mut Voice<'_>,
    ) -> Result<(), ApiError> {
        let body = json!({"partner_redirect_url": url.unwrap_or_default()});
        self.ask(voice, Method::PATCH, "", Some(&body))
            .await
            .map(drop)
    }

    /// One page of the partner's channels.
    pub(crate) async fn channels(
        &mut self,
        query: &Query,
        voice: &mut Voice<'_>,
    ) -> Result<Page, ApiError> {
        let url = format!("{}/partners/{}/channels", self.base.as_str(), self.partner);
        let mut pairs = vec![
            ("limit", query.limit.to_string()),
            ("offset", query.offset.to_string()),
        ];
        pairs.extend(
            query
                .filters
                .as_ref()
                .map(|filters| ("filters", filters.to_string())),
        );
        let request = self.opened(self.http.get(url)).query(&pairs);
        let body = self
            .patiently(voice, async |_| answer_of(&request).await)
            .await?;
        let body = body.ok_or(ApiError::Unclear("not JSON"))?;
        let rows = body
            .get("partner_channels")
            .and_then(Value::as_array)
            .cloned();
        let total = body
            .get("total")
            .and_then(Value::as_u64)
            .and_then(|total| usize::try_from(total).ok());
        Ok(Page {
            rows: rows.ok_or(ApiError::Unclear("no partner_channels"))?,
            total,
        })
    }

    /// How many keys a channel has.
    pub(crate) async fn count_keys(
        &mut self,
        channel: &ChannelId,
        voice: &mut Voice<'_>,
    ) -> Result<usize, ApiError> {
        let keys = self.patiently(voice, async |api| {
            Ok(api
                .hub
                .keys(&api.partner, &api.credentials, channel)
                .await?)
        });
        Ok(keys.await?.len())
    }

    async fn ask(
        &mut self,
        voice: &mut Voice<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Value>, ApiError> {
        let url = format!("{}/partners/{}{path}", self.base.as_str(), self.partner);
        let request = self.opened(self.http.request(method, url));
        let request = if let Some(body) = body {
            request.json(body)
        } else {
            request
        };
        self.patiently(voice, async |_| answer_of(&request).await)
            .await
    }

    /// A request with the credentials.
    fn opened(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            HubCredentials::Token(token) => request.bearer_auth(token.expose()),
            HubCredentials::ApiKey(key) => request.header("X-API-Key", sensitive(key)),
        }
    }

    /// Puts a question until the answer is not "later", and not faster than 360dialog takes it.
    async fn patiently<T>(
        &mut self,
        voice: &mut Voice<'_>,
        question: impl AsyncFn(&Self) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut tries = 1;
        loop {
            self.rate.wait(voice).await;
            match question(self).await {
                Err(ApiError::Later(wait)) if tries < TRIES && wait <= LONGEST_WAIT => {
                    tries += 1;
                    voice.tell(
                        "waiting",
                        &format!("{} s, as 360dialog asks to (HTTP 429)", wait.as_secs()),
                    );
                    tokio::time::sleep(wait).await;
                }
                answer => return answer,
            }
        }
    }
}

/// What a request is answered: JSON, or a success that says nothing.
async fn answer_of(request: &RequestBuilder) -> Result<Option<Value>, ApiError> {
    let request = request
        .try_clone()
        .ok_or(ApiError::Unclear("the request"))?;
    let answer = request.send().await.map_err(|_| ApiError::Silent)?;
    match answer.status() {
        status if status.is_success() => Ok(answer.json().await.ok()),
        StatusCode::UNAUTHORIZED => Err(ApiError::BadCredentials),
        StatusCode::FORBIDDEN => Err(ApiError::NotPermitted),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Err(ApiError::NoSuchThing),
        StatusCode::TOO_MANY_REQUESTS => Err(ApiError::Later(
            retry_after(answer.headers()).unwrap_or(WAIT),
        )),
        status => Err(ApiError::Status(status.as_u16())),
    }
}

/// The address that an answer names, or why it names none; fails where asking anything else is in vain too.
fn seen(answer: Result<Option<Value>, ApiError>, name: &str) -> Result<Seen, ApiError> {
    let body = match answer {
        Ok(body) => body.unwrap_or_default(),
        Err(ApiError::NoSuchThing) => return Ok(Seen::Untold("HTTP 404 or 405".to_owned())),
        Err(why) => return Err(why),
    };
    let value = body.get(name).or_else(|| body.get("partner")?.get(name));
    Ok(match value {
        Some(Value::Null) => Seen::Nothing,
        Some(Value::String(url)) if url.trim().is_empty() => Seen::Nothing,
        Some(Value::String(url)) => Seen::Url(url.trim().to_owned()),
        _ => Seen::Untold(format!("its answer has no {name}")),
    })
}

/// A header that debug output does not show; text that no header can hold becomes empty, and 360dialog refuses it.
fn sensitive(secret: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret.expose()).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Keeps requests below the rate that 360dialog takes.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    is_limited: bool,
    asked: VecDeque<Instant>,
}

impl Rate {
    /// That of 360dialog itself.
    pub(crate) fn of_360dialog() -> Self {
        Self {
            is_limited: true,
            asked: VecDeque::new(),
        }
    }

    /// None: the simulated hub, a stand-in.
    pub(crate) fn unlimited() -> Self {
        Self {
            is_limited: false,
            asked: VecDeque::new(),
        }
    }

    async fn wait(&mut self, voice: &mut Voice<'_>) {
        if !self.is_limited {
            return;
        }
        if self.asked.len() >= REQUESTS
            && let Some(oldest) = self.asked.pop_front()
        {
            let until = oldest + WINDOW;
            let wait = until.saturating_duration_since(Instant::now());
            if wait > Duration::from_secs(10) {
                voice.tell(
                    "waiting",
                    &format!(
                        "{} s: 360dialog takes few requests at a time",
                        wait.as_secs()
                    ),
                );
            }
            tokio::time::sleep_until(until).await;
        }
        self.asked.push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_where_it_is_and_its_absence_is_not_taken_for_none() {
        let read = |body: Value| seen(Ok(Some(body)), "webhook_url").unwrap();
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
            assert!(matches!(read(odd), Seen::Untold(_)));
        }
        assert!(matches!(
            seen(Err(ApiError::NoSuchThing), "x"),
            Ok(Seen::Untold(_))
        ));
        assert_eq!(
            seen(Err(ApiError::BadCredentials), "x"),
            Err(ApiError::BadCredentials)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_four_requests_fall_into_thirty_seconds() {
        let mut ignore = |_: &str| {};
        let mut voice = Voice::new(&mut ignore);
        let (mut rate, start) = (Rate::of_360dialog(), Instant::now());
        let mut times = Vec::new();
        for _ in 0..9 {
            rate.wait(&mut voice).await;
            times.push(start.elapsed().as_secs());
        }
        assert_eq!(times, [0, 0, 0, 0, 30, 30, 30, 30, 60]);
        let (mut none, start) = (Rate::unlimited(), Instant::now());
        for _ in 0..100 {
            none.wait(&mut voice).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
