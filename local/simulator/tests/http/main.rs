//! Tests of a running simulator over HTTP: as a browser, as a partner's server, and as the receiver of its webhooks.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

mod calls;
mod channels;
mod coexistence;
mod controls;
mod faults;
mod lists;
mod messaging;
mod onboarding;
mod partner_api;
mod partner_settings;
mod token;
mod webhook_faults;
mod webhooks;
