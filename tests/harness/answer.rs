//! Answers over HTTP, read to their end.

use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
    url: String,
}

/// Sends requests.
pub trait Ask: Sized {
    /// Sends it and reads the answer; the error says why there is none.
    fn try_ask(self) -> impl Future<Output = reqwest::Result<Answer>> + Send;

    /// The same, where there must be an answer.
    fn ask(self) -> impl Future<Output = Answer> + Send;
}

impl Ask for RequestBuilder {
    async fn try_ask(self) -> reqwest::Result<Answer> {
        let answer = self.send().await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            url: answer.url().to_string(),
            text: answer.text().await?,
        })
    }

    async fn ask(self) -> Answer {
        self.try_ask().await.expect("an answer")
    }
}

impl Answer {
    /// Fails unless this is its status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.url, self.text);
        self
    }

    /// Its body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }

    /// Fails unless it is a refusal of ours with this status; its detail.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        let kind = self.header("content-type");
        let cache = self.header("cache-control");
        let wanted = (status, "application/problem+json", "no-store");
        assert_eq!((self.status, kind, cache), wanted, "{}", self.url);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
        text(&problem["detail"]).to_owned()
    }
}

/// A value that is a text.
#[track_caller]
pub fn text(value: &Value) -> &str {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("{value} is no text"))
}
