//! The messaging API, as far as a partner uses it with a number's own key: where the number's messages go.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use url::Url;

use super::error::ErrorKind;
use super::sensitive;
use crate::secret::Secret;

/// Where the messaging API is.
pub const MESSAGING_ORIGIN: &str = "https://waba-v2.360dialog.io";

/// The path, below the address that comes with a number's key, at which its messaging webhook is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookPath(String);

/// The text is no absolute path, or more than a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must start with / and be a path without a query and placeholders")]
pub struct WebhookPathError;

impl Default for WebhookPath {
    fn default() -> Self {
        Self("/v1/configs/webhook".to_owned())
    }
}

impl FromStr for WebhookPath {
    type Err = WebhookPathError;

    fn from_str(text: &str) -> Result<Self, WebhookPathError> {
        let is_odd = |c: char| {
            matches!(c, '{' | '}' | '?' | '#' | '\\' | '"' | '<' | '>')
                || c.is_whitespace()
                || c.is_control()
        };
        if !text.starts_with('/') || text.contains(is_odd) {
            return Err(WebhookPathError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Where a number's messages go. `Debug` shows neither the address nor the values of the headers.
#[derive(Clone)]
pub struct MessagingWebhook {
    /// The address.
    pub url: String,
    /// The headers that the messages carry.
    pub headers: BTreeMap<String, Secret>,
}

impl fmt::Debug for MessagingWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.headers.keys().collect();
        f.debug_struct("MessagingWebhook")
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// Why a messaging webhook is not set, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessagingError {
    /// The address is none, or more than one: nothing was sent.
    #[error("the address that came with the key is not an absolute address")]
    MalformedAddress,
    /// The address lies on an origin to which no key is sent: nothing was sent.
    #[error("the address that came with the key lies on another origin: {0}")]
    ForeignAddress(String),
    /// The messaging API refused it, or gave no clear answer.
    #[error("{0}")]
    NotSet(ErrorKind),
}

/// The messaging API at the addresses that come with the numbers' keys, on some origins and no others.
#[derive(Clone, Debug)]
pub struct MessagingApi {
    http: reqwest::Client,
    origins: Vec<String>,
    webhook_path: WebhookPath,
}

impl MessagingApi {
    /// The API on `origins`, each as a browser writes it, such as [`MESSAGING_ORIGIN`].
    ///
    /// `http` should have a time-out, and must follow no redirect: a redirect would carry a key elsewhere.
    pub fn new(
        http: reqwest::Client,
        origins: impl IntoIterator<Item = impl Into<String>>,
        webhook_path: WebhookPath,
    ) -> Self {
        Self {
            http,
            origins: origins.into_iter().map(Into::into).collect(),
            webhook_path,
        }
    }

    /// Sets the messaging webhook of the number that `key` is for, once. `address` is what came with the key.
    ///
    /// # Errors
    /// Says whether anything was sent. No error holds the key, a header or the address of the webhook.
    pub async fn set_webhook(
        &self,
        address: &str,
        key: &Secret,
        webhook: &MessagingWebhook,
    ) -> Result<(), MessagingError> {
        let url = self.endpoint(address)?;
        let headers: BTreeMap<&str, &str> = webhook
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        let body: Value = json!({"url": webhook.url, "headers": headers});
        let request = self.http.post(url).header("D360-API-KEY", sensitive(key));
        let silent = |_| MessagingError::NotSet(ErrorKind::Silent);
        let response = request.json(&body).send().await.map_err(silent)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let kind = ErrorKind::from_status(status, response.headers());
        Err(MessagingError::NotSet(kind))
    }

    /// The address to call. The parsed address is judged, and the same one is called.
    ///
    /// # Errors
    /// If it lies on none of the origins, or is more than an origin and a path.
    pub fn endpoint(&self, address: &str) -> Result<Url, MessagingError> {
        let path = &self.webhook_path.0;
        let joined = format!("{}{path}", address.trim_end_matches('/'));
        let url = Url::parse(&joined).map_err(|_| MessagingError::MalformedAddress)?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(MessagingError::MalformedAddress);
        }
        let origin = url.origin().ascii_serialization();
        if !self.origins.contains(&origin) {
            return Err(MessagingError::ForeignAddress(origin));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::http::header::LOCATION;
    use axum::response::IntoResponse;
    use tokio::net::TcpListener;

    use super::*;

    const KEY: &str = "needle-key";

    fn api(origin: &str) -> MessagingApi {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        MessagingApi::new(http.build().unwrap(), [origin], WebhookPath::default())
    }

    /// Sets a webhook that holds needles.
    async fn set(api: &MessagingApi, address: &str) -> Result<(), MessagingError> {
        api.set_webhook(address, &Secret::new(KEY), &webhook())
            .await
    }

    fn webhook() -> MessagingWebhook {
        MessagingWebhook {
            url: "https://app.example/needle-url".to_owned(),
            headers: [("X-A".to_owned(), Secret::new("needle-header"))].into(),
        }
    }

    /// A server that answers every request in this way, with the requests that it got: path, key, body.
    async fn server(
        status: StatusCode,
        location: String,
    ) -> (String, Arc<Mutex<Vec<(String, String, Value)>>>) {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let log = seen.clone();
        let routes = Router::new().fallback(move |request: Request| {
            let (log, location) = (log.clone(), location.clone());
            async move {
                let path = request.uri().path().to_owned();
                let key = request.headers()["D360-API-KEY"]
                    .to_str()
                    .unwrap()
                    .to_owned();
                let body = axum::body::to_bytes(request.into_body(), 9999)
                    .await
                    .unwrap();
                let body = serde_json::from_slice(&body).unwrap();
                log.lock().unwrap().push((path, key, body));
                (status, [(LOCATION, location)]).into_response()
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (address, seen)
    }

    #[tokio::test]
    async fn a_webhook_is_posted_below_the_address_with_the_key_in_a_header() {
        let (origin, seen) = server(StatusCode::OK, String::new()).await;
        let address = format!("{origin}/waba/");
        assert_eq!(set(&api(&origin), &address).await, Ok(()));
        let body =
            json!({"url": "https://app.example/needle-url", "headers": {"X-A": "needle-header"}});
        let expected = ("/waba/v1/configs/webhook".to_owned(), KEY.to_owned(), body);
        assert_eq!(*seen.lock().unwrap(), [expected]);
    }

    #[tokio::test]
    async fn a_key_follows_no_redirect() {
        let (elsewhere, foreign) = server(StatusCode::OK, String::new()).await;
        let (origin, seen) = server(StatusCode::TEMPORARY_REDIRECT, elsewhere).await;
        let redirected = MessagingError::NotSet(ErrorKind::Status(307));
        assert_eq!(set(&api(&origin), &origin).await, Err(redirected));
        assert_eq!(seen.lock().unwrap().len(), 1);
        assert_eq!(*foreign.lock().unwrap(), []);
    }

    #[tokio::test]
    async fn a_key_is_sent_to_no_foreign_origin() {
        let (foreign, seen) = server(StatusCode::OK, String::new()).await;
        let refused = set(&api(MESSAGING_ORIGIN), &foreign).await;
        assert_eq!(refused, Err(MessagingError::ForeignAddress(foreign)));
        assert_eq!(*seen.lock().unwrap(), []);
    }

    #[test]
    fn an_address_is_judged_by_its_parsed_origin() {
        let api = api(MESSAGING_ORIGIN);
        for good in [
            "https://waba-v2.360dialog.io",
            "https://WABA-v2.360dialog.io:443/",
            "https://waba-v2.360dialog.io/x",
        ] {
            assert!(api.endpoint(good).is_ok(), "{good}");
        }
        for foreign in [
            "http://waba-v2.360dialog.io",
            "https://waba-v2.360dialog.io.evil.example",
            "https://waba-v2.360dialog.io:8443",
            "https://evil.example/https://waba-v2.360dialog.io",
            "https://evil.example\\@waba-v2.360dialog.io",
        ] {
            let refused = api.endpoint(foreign);
            let is_foreign = matches!(refused, Err(MessagingError::ForeignAddress(_)));
            assert!(is_foreign, "{foreign}: {refused:?}");
        }
        for malformed in [
            "",
            "waba-v2.360dialog.io",
            "https://waba-v2.360dialog.io?x=",
            "https://waba-v2.360dialog.io/#",
            "https://waba-v2.360dialog.io@evil.example",
            "https://u:p@waba-v2.360dialog.io",
            "data:text/plain,x",
        ] {
            let refused = api.endpoint(malformed);
            assert_eq!(
                refused,
                Err(MessagingError::MalformedAddress),
                "{malformed}"
            );
        }
    }

    #[test]
    fn a_path_starts_with_a_slash_and_is_nothing_else() {
        let default = WebhookPath::default();
        assert_eq!(default.0.parse::<WebhookPath>(), Ok(default));
        for bad in [
            "",
            "v1",
            "@evil.example",
            "/x?y",
            "/x#",
            "/{channel_id}",
            "/a b",
            "/\\x",
        ] {
            assert_eq!(bad.parse::<WebhookPath>(), Err(WebhookPathError), "{bad}");
        }
    }

    #[tokio::test]
    async fn nothing_that_prints_holds_the_key_a_header_or_the_address() {
        let (origin, _seen) = server(StatusCode::UNAUTHORIZED, String::new()).await;
        let api = api(&origin);
        let refused = set(&api, &origin).await;
        assert_eq!(
            refused,
            Err(MessagingError::NotSet(ErrorKind::BadCredentials))
        );
        let gone = "http://127.0.0.1:1";
        let silent = set(&self::api(gone), gone).await;
        assert_eq!(silent, Err(MessagingError::NotSet(ErrorKind::Silent)));
        let printed = format!("{refused:?} {silent:?} {:?} {api:?}", webhook());
        assert!(!printed.contains("needle"), "{printed}");
    }
}
