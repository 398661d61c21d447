//! Tokens that are got with a user name and a password: kept in memory, and renewed before they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::{ApiError, ErrorKind};
use crate::credentials::Login;
use crate::id::PartnerId;
use crate::secret::Secret;

/// The time-out of a login.
pub const LOGIN_TIME: Duration = Duration::from_secs(3);

/// How long no login is tried after a refused one, unless 360dialog asks for a longer wait.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// How long no login is tried after one without a clear answer.
const PAUSE_AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// The life of a token whose answer does not say it, s.
const DEFAULT_LIFE: i64 = 300;

/// A token is renewed so long before it expires, or at half of its life if that is later, s.
const RENEW_BEFORE: i64 = 60;

/// The tokens of all partners. One login of a partner at a time: who comes meanwhile waits, and uses its token.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<PartnerId, Arc<Mutex<Entry>>>>>);

/// The state of one partner's login.
#[derive(Debug, Default)]
struct Entry {
    login: Option<Login>,
    token: Option<Token>,
    /// Until when no login is tried, and why.
    pause: Option<(Timestamp, ApiError)>,
}

#[derive(Debug)]
struct Token {
    text: Secret,
    renew_at: Timestamp,
}

/// The address for logins, and the client for it.
pub(super) struct Endpoint<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) base_url: &'a str,
}

impl Tokens {
    /// A token that has not expired, by a login if there is none. The error is that of the login, or of one before
    /// that was refused within the last minute.
    pub(super) async fn get(
        &self,
        partner: &PartnerId,
        login: &Login,
        endpoint: &Endpoint<'_>,
    ) -> Result<Secret, ApiError> {
        self.entry(partner, login)
            .await
            .token(login, endpoint)
            .await
    }

    /// The token there is, even if it is about to expire.
    pub(super) async fn present(&self, partner: &PartnerId, login: &Login) -> Option<Secret> {
        let entry = self.entry(partner, login).await;
        entry.token.as_ref().map(|token| token.text.clone())
    }

    /// Whether a request needs a login first.
    pub(super) async fn needs_login(&self, partner: &PartnerId, login: &Login) -> bool {
        let entry = self.entry(partner, login).await;
        let now = Timestamp::now();
        entry.valid_token(now).is_none() && entry.refusal(now).is_none()
    }

    /// Another token than `refused`, by a login unless somebody else has made one since.
    pub(super) async fn renew(
        &self,
        partner: &PartnerId,
        login: &Login,
        refused: &Secret,
        endpoint: &Endpoint<'_>,
    ) -> Result<Secret, ApiError> {
        let mut entry = self.entry(partner, login).await;
        entry.forget(refused);
        entry.token(login, endpoint).await
    }

    /// Forgets a token that 360dialog refused.
    pub(super) async fn forget(&self, partner: &PartnerId, login: &Login, refused: &Secret) {
        self.entry(partner, login).await.forget(refused);
    }

    /// Notes that 360dialog refused even a new token: the next login waits.
    pub(super) async fn pause(
        &self,
        partner: &PartnerId,
        login: &Login,
        refused: &Secret,
        why: &ApiError,
    ) {
        let mut entry = self.entry(partner, login).await;
        entry.forget(refused);
        entry.pause_after(why);
    }

    /// The state for `partner`, held; a new one if it logs in with something else now.
    async fn entry(&self, partner: &PartnerId, login: &Login) -> OwnedMutexGuard<Entry> {
        let entry = self
            .0
            .lock()
            .await
            .entry(partner.clone())
            .or_default()
            .clone();
        let mut entry = entry.lock_owned().await;
        if entry.login.as_ref() != Some(login) {
            *entry = Entry {
                login: Some(login.clone()),
                ..Entry::default()
            };
        }
        entry
    }
}

impl Entry {
    async fn token(&mut self, login: &Login, endpoint: &Endpoint<'_>) -> Result<Secret, ApiError> {
        let now = Timestamp::now();
        if let Some(token) = self.valid_token(now) {
            return Ok(token);
        }
        if let Some(why) = self.refusal(now) {
            return Err(why);
        }
        match log_in(login, endpoint).await {
            Ok(token) => {
                let text = token.text.clone();
                (self.token, self.pause) = (Some(token), None);
                Ok(text)
            }
            Err(why) => {
                self.pause_after(&why);
                Err(why)
            }
        }
    }

    fn valid_token(&self, now: Timestamp) -> Option<Secret> {
        let valid = self.token.as_ref().filter(|token| now < token.renew_at);
        valid.map(|token| token.text.clone())
    }

    /// The refusal of the last login, while no other is tried.
    fn refusal(&self, now: Timestamp) -> Option<ApiError> {
        let paused = self.pause.as_ref().filter(|(until, _)| now < *until);
        paused.map(|(_, why)| why.clone())
    }

    fn forget(&mut self, refused: &Secret) {
        let is_refused = |token: &Token| token.text.expose() == refused.expose();
        if self.token.as_ref().is_some_and(is_refused) {
            self.token = None;
        }
    }

    fn pause_after(&mut self, why: &ApiError) {
        let until = Timestamp::now().saturating_add(pause(why.kind));
        self.pause = until.ok().map(|until| (until, why.clone()));
    }
}

/// How long no login is tried after `why`.
fn pause(why: ErrorKind) -> Duration {
    match why {
        ErrorKind::Silent | ErrorKind::Unreadable(_) | ErrorKind::Status(408 | 500..) => {
            PAUSE_AFTER_TROUBLE
        }
        ErrorKind::RateLimited(wait) => PAUSE_AFTER_REFUSAL.max(wait.unwrap_or_default()),
        _ => PAUSE_AFTER_REFUSAL,
    }
}

/// Asks for a token. Any 4xx is a refusal of the credentials, but those that say nothing about them.
async fn log_in(login: &Login, endpoint: &Endpoint<'_>) -> Result<Token, ApiError> {
    let (username, password) = (login.username.expose(), login.password.expose());
    let request = endpoint.http.post(format!("{}/token", endpoint.base_url));
    let request = request.timeout(LOGIN_TIME);
    let request = request.json(&json!({"username": username, "password": password}));
    let asked_at = Timestamp::now();
    let response = request.send().await.map_err(|_| ErrorKind::Silent)?;
    if !response.status().is_success() {
        let error = ApiError::read(response, &[&login.username, &login.password]).await;
        return Err(match error.kind {
            ErrorKind::NotPermitted | ErrorKind::Status(400..=407 | 409..500) => {
                let kind = ErrorKind::BadCredentials;
                ApiError { kind, ..error }
            }
            _ => error,
        });
    }
    let body: Option<Value> = response.json().await.ok();
    let token = body.and_then(|body| token(&body, asked_at));
    token.ok_or_else(|| ErrorKind::Unreadable("no access_token").into())
}

/// The token in the answer to a login.
fn token(body: &Value, asked_at: Timestamp) -> Option<Token> {
    let text = body.get("access_token")?.as_str();
    let life = body.get("expires_in").and_then(seconds);
    let life = life.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE);
    let usable = SignedDuration::from_secs(life.saturating_sub(RENEW_BEFORE));
    let half = SignedDuration::from_millis(life.saturating_mul(500));
    Some(Token {
        text: Secret::new(text.filter(|text| !text.is_empty())?),
        renew_at: asked_at.saturating_add(usable.max(half)).ok()?,
    })
}

fn seconds(value: &Value) -> Option<i64> {
    let text = value.as_str().map(str::trim);
    value
        .as_i64()
        .or_else(|| text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_login_of_one_partner_keeps_no_other_waiting() {
        let login = Login {
            username: Secret::new("u"),
            password: Secret::new("p"),
        };
        let tokens = Tokens::default();
        let held = tokens.entry(&"aPA".parse().unwrap(), &login).await;
        let other: PartnerId = "bPA".parse().unwrap();
        let waits = tokens.needs_login(&other, &login);
        let answer = tokio::time::timeout(Duration::from_secs(60), waits).await;
        assert_eq!(answer, Ok(true));
        drop(held);
    }

    #[test]
    fn a_token_is_renewed_a_minute_before_it_expires_or_at_half_its_life() {
        let asked_at = Timestamp::UNIX_EPOCH;
        let renewed = |body: Value| token(&body, asked_at).map(|it| it.renew_at.as_millisecond());
        let body = |life: Value| json!({"access_token": "t", "expires_in": life});
        for (life, wanted) in [
            (json!(3600), 3_540_000),
            (json!("3600"), 3_540_000),
            (json!(121), 61_000),
            (json!(60), 30_000),
            (json!(2), 1_000),
            (json!(1), 500),
            (json!(null), 240_000),
            (json!(0), 240_000),
            (json!("soon"), 240_000),
        ] {
            assert_eq!(renewed(body(life.clone())), Some(wanted), "{life}");
        }
        for none in [
            json!({}),
            json!({"access_token": ""}),
            json!({"access_token": 7}),
        ] {
            assert_eq!(renewed(none), None);
        }
    }

    #[test]
    fn a_refused_login_waits_a_minute_and_one_without_an_answer_seconds() {
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(pause(ErrorKind::BadCredentials), PAUSE_AFTER_REFUSAL);
        assert_eq!(pause(ErrorKind::RateLimited(None)), PAUSE_AFTER_REFUSAL);
        assert_eq!(
            pause(ErrorKind::RateLimited(hour)),
            Duration::from_secs(3600)
        );
        for trouble in [
            ErrorKind::Silent,
            ErrorKind::Status(503),
            ErrorKind::Unreadable("x"),
        ] {
            assert_eq!(pause(trouble), PAUSE_AFTER_TROUBLE);
        }
    }
}
