//! What only a bundle on one machine has: the demo, its settings, its data directory.

pub(crate) mod connect;
mod demo;
mod demo_secrets;
mod large_events;
mod lost_keys;
mod messaging_webhook;
pub(crate) mod readme;
mod settings;

use tests::{Backend, Bundle, Secrets};

/// A bundle of these tests, which fail on any other backend.
async fn start() -> Bundle {
    start_with(&[]).await
}

/// The same with further settings.
async fn start_with(settings: &[(&str, &str)]) -> Bundle {
    start_as(Secrets::two_hubs(), settings).await
}

/// The same with other secrets.
async fn start_as(secrets: Secrets, settings: &[(&str, &str)]) -> Bundle {
    Backend::OneMachine.is_needed();
    Bundle::start_as(secrets, settings).await
}
