//! A running hub, met from outside: by a browser, by a partner's server, by its webhook's receiver.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

mod controls;
mod onboarding;
mod partner_api;
mod partner_settings;
mod webhooks;
