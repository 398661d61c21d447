//! How a number that belongs to nobody is found: each way, here with the stream's records, and in `on_aws::lost` without.

use serde_json::json;
use tests::partner_api::{CLIENT, NUMBER, SimulatedPartnerApi, channel, claim, new_channel};
use tests::{Bundle, PARTNER, PAYING_PARTNER};

const LATER: &str = "laterCH";

/// What becomes of the stream's records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    Come,
    /// Those that hold this text get lost, on AWS's pieces, until something else has happened.
    AreLost(&'static str),
}

impl Records {
    fn begin(self, bundle: &Bundle) {
        if let Self::AreLost(about) = self {
            bundle.aws().loses_records_with("provision", about);
        }
    }

    /// Once all that is lost has been lost: whether something else has to happen now.
    async fn end(self, bundle: &Bundle) -> bool {
        let are_lost = self != Self::Come;
        if are_lost {
            bundle.scan_when_quiet().await;
            bundle.aws().loses_no_record();
        }
        are_lost
    }
}

/// I13
#[tokio::test]
async fn a_number_is_found_by_the_look_at_its_client() {
    by_the_look(Records::Come).await;
}

pub(crate) async fn by_the_look(records: Records) {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    records.begin(&bundle);
    claim(&bundle, PARTNER, NUMBER).await;
    if records != Records::Come {
        // The claim is registered, and the key is made, by the clock.
        bundle.waits_are_over().await;
        api.is_asked("channels", 1).await;
        bundle.waits_are_over().await;
    }
    bundle.stored(PARTNER, "acme", NUMBER).await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// I13
#[tokio::test]
async fn a_number_is_found_by_an_event_that_names_a_client_which_has_an_owner() {
    by_a_bound_client(Records::Come).await;
}

pub(crate) async fn by_a_bound_client(records: Records) {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    records.begin(&bundle);
    api.adds(channel(LATER, None)).await;
    runs(&bundle, json!({"id": LATER, "client_id": CLIENT})).await;
    bundle.event("channel_permission_granted", LATER).await;
    if records.end(&bundle).await {
        bundle.sweep_is_due(PARTNER).await;
    }
    bundle.stored(PARTNER, "acme", LATER).await;
    assert_eq!(api.posts(LATER).await, 1);
}

/// I13
#[tokio::test]
async fn a_number_is_found_by_an_event_that_names_a_client_which_is_claimed() {
    by_a_claimed_client(json!({"id": LATER, "client_id": CLIENT}), Records::Come).await;
}

/// I13
#[tokio::test]
async fn a_number_is_found_by_an_event_without_a_client_if_a_claim_names_the_number() {
    by_a_claimed_client(json!({"id": LATER}), Records::Come).await;
}

pub(crate) async fn by_a_claimed_client(data: serde_json::Value, records: Records) {
    let api = SimulatedPartnerApi::start().await;
    let bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, LATER).await;
    api.is_asked("channels", 1).await;
    bundle.scan_when_quiet().await;
    records.begin(&bundle);
    // No wait is over: the event alone is why its client is looked at again.
    api.adds(new_channel(LATER)).await;
    runs(&bundle, data).await;
    if records.end(&bundle).await {
        bundle.waits_are_over().await;
    }
    bundle.stored(PARTNER, "acme", LATER).await;
    assert_eq!(api.posts(LATER).await, 1);
}

/// I13
#[tokio::test]
async fn a_number_is_found_by_the_sweep_if_its_client_has_an_owner() {
    by_the_sweep(Records::Come).await;
}

pub(crate) async fn by_the_sweep(records: Records) {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PAYING_PARTNER, NUMBER).await;
    bundle.stored(PAYING_PARTNER, "acme", NUMBER).await;
    records.begin(&bundle);
    api.adds(channel(LATER, None)).await;
    let mut foreign = new_channel("foreignCH");
    foreign["client"] = json!("zCL");
    api.adds(foreign).await;
    bundle.sweep_is_due(PAYING_PARTNER).await;
    // The look, and the sweep.
    api.is_asked("channels", 2).await;
    if records.end(&bundle).await {
        bundle.sweep_is_due(PAYING_PARTNER).await;
    }
    bundle.stored(PAYING_PARTNER, "acme", LATER).await;
    assert_eq!(api.posts(LATER).await, 1);
    assert_eq!(api.posts("foreignCH").await, 0, "nobody claims it");
}

/// 360dialog says that a number runs.
async fn runs(bundle: &Bundle, data: serde_json::Value) {
    let event = json!({"event": "channel_running", "data": data});
    bundle.webhook(PARTNER, &event.to_string()).await.is(200);
}
