//! The credentials of the Partner API: a partner's API key, its static token, and tokens it was issued.

use axum::http::{HeaderMap, header};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::{
    settings::{Access, Partner},
    simulator::Simulator,
};

/// The digest under which a secret is stored and found again.
pub(crate) fn digest(secret: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(secret))
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn api_key(headers: &HeaderMap) -> Option<&str> {
    header_text(headers, "x-api-key")
}

/// The key of a channel, as the messaging side takes it.
pub(crate) fn channel_key(headers: &HeaderMap) -> Option<&str> {
    header_text(headers, "d360-api-key")
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = header_text(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares digests, so that the time taken reveals nothing about the secret.
pub(crate) fn is_same_secret(given: &str, secret: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(secret)
}

fn accepts(simulator: &Simulator, partner: &Partner, headers: &HeaderMap) -> bool {
    let is_static = partner.access.iter().any(|access| match access {
        Access::Token(token) => bearer(headers).is_some_and(|given| is_same_secret(given, token)),
        Access::ApiKey(key) => api_key(headers).is_some_and(|given| is_same_secret(given, key)),
        Access::Login { .. } => false,
    });
    is_static || bearer(headers).is_some_and(|token| is_issued(simulator, partner, token))
}

/// Whether the partner was issued this token, and it has not expired.
fn is_issued(simulator: &Simulator, partner: &Partner, token: &str) -> bool {
    simulator.store.read(|records| {
        let account = records.account(&partner.id);
        let expires_at = account.and_then(|account| account.tokens.get(&digest(token)));
        expires_at.is_some_and(|expires_at| *expires_at > Timestamp::now())
    })
}

/// The partner, if the headers hold its credentials. An unknown partner gets the same answer as wrong credentials.
pub(crate) fn authorize<'a>(
    simulator: &'a Simulator,
    partner: &str,
    headers: &HeaderMap,
) -> Result<&'a Partner, ApiError> {
    simulator
        .partners
        .get(partner)
        .filter(|partner| accepts(simulator, partner, headers))
        .ok_or(ApiError::UNAUTHORIZED)
}

/// The partners whose credentials the headers hold.
pub(crate) fn authorized<'a>(
    simulator: &'a Simulator,
    headers: &HeaderMap,
) -> impl Iterator<Item = &'a Partner> {
    simulator
        .partners
        .values()
        .filter(|partner| accepts(simulator, partner, headers))
}

/// For addresses without a partner: the partner that has the channel, among those whose credentials are given.
pub(crate) fn authorize_by_channel<'a>(
    simulator: &'a Simulator,
    channel: &str,
    headers: &HeaderMap,
) -> Result<&'a Partner, ApiError> {
    let mut authorized = authorized(simulator, headers).peekable();
    authorized.peek().ok_or(ApiError::UNAUTHORIZED)?;
    let has_channel = |partner: &&Partner| {
        simulator
            .store
            .read(|records| records.channel(&partner.id, channel).is_some())
    };
    authorized
        .find(has_channel)
        .ok_or(ApiError::NO_SUCH_CHANNEL)
}
