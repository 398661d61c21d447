//! What a bundle does wherever it runs: these tests are for both backends.

mod channels;
mod events;
mod gateway;
pub(crate) mod http;
mod in_between;
mod keys;
mod onboarding;
mod redirect;
mod restart;
pub(crate) mod secrets_leak;
mod sign;
mod state;
mod store;
