//! A messaging webhook that is switched on, and off, while numbers have keys.

use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Backend, PARTNER};

#[tokio::test]
async fn an_address_that_is_set_later_reaches_the_numbers_that_have_a_key() {
    Backend::OneMachine.is_needed();
    let (api, mut bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.webhook_calls(NUMBER).await, 0);
    let states = [("https://app.example", "set", 1), ("", "off", 1)];
    for (url, state, calls) in states {
        bundle.sets("MESSAGING_WEBHOOK_URL", url);
        bundle.sets("MESSAGING_ORIGINS", api.url());
        bundle.kill_and_restart().await;
        bundle.sweep_is_due(PARTNER).await;
        bundle.channel_has(NUMBER, "messaging_webhook", state).await;
        assert_eq!(api.webhook_calls(NUMBER).await, calls);
        let set = api.messaging_webhook(PARTNER, NUMBER).await;
        assert_eq!(set["url"], "https://app.example", "it stays at the number");
        bundle.scan_when_quiet().await;
    }
    // What is set still is only told once it is switched on again.
    bundle.sets("MESSAGING_WEBHOOK_URL", "https://app.example");
    bundle.kill_and_restart().await;
    bundle.sweep_is_due(PARTNER).await;
    bundle.channel_has(NUMBER, "messaging_webhook", "set").await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.webhook_calls(NUMBER).await, 1);
}
