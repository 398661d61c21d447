//! What a bundle does wherever it runs: these tests are for both backends.

mod callers;
mod channels;
mod claims;
mod events;
pub(crate) mod found;
pub(crate) mod comparison;
mod keys;
mod messaging_webhook;
pub(crate) mod large_events;
mod onboarding;
mod operator;
mod partner_api;
mod permission;
mod queue;
mod redirect;
mod refold;
mod restart;
pub(crate) mod secrets_leak;
mod sign;
mod soak;
mod state;
mod store;
mod webhook;
