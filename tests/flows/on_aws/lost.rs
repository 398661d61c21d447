//! Records of the stream that get lost: what they would have made due is done all the same, and what they would have changed
//! is joined within a day.

use onboarding::fact::{Assertion, Binding, Fact, Source};
use runtime::clock;
use serde_json::{Value, json};
use store::{Facts, Refolds, Write};
use tests::aws::calls::{Fault, Harm};
use tests::partner_api::{CLIENT, NUMBER, SimulatedPartnerApi, channel, claim, new_channel};
use tests::{Bundle, PARTNER, channel_ref, id, until, until_seen, until_so};

use crate::everywhere::found::{
    Records, by_a_bound_client, by_a_claimed_client, by_the_look, by_the_sweep,
};

const LATER: Records = Records::AreLost("laterCH");

/// I13
#[tokio::test]
async fn the_record_of_a_claim() {
    by_the_look(Records::AreLost("CLAIM#")).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_a_look_has_found() {
    by_the_look(Records::AreLost("CHANNEL#aAbBcCPA#oneCH")).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_whose_client_has_an_owner() {
    by_a_bound_client(LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_whose_client_is_claimed() {
    by_a_claimed_client(json!({"id": "laterCH", "client_id": CLIENT}), LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_a_claim_names() {
    by_a_claimed_client(json!({"id": "laterCH"}), LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_the_sweep_has_found() {
    by_the_sweep(LATER).await;
}

/// I13
#[tokio::test]
async fn the_record_of_the_fact_that_a_key_is_stored() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    bundle
        .aws()
        .loses_records_with("fold", r#""status": S("stored")"#);
    claim(&bundle, PARTNER, NUMBER).await;
    api.is_posted(NUMBER, 1).await;
    heals_in_a_day(&bundle, "acme", NUMBER, |seen| {
        seen["key"]["status"] == "stored"
    })
    .await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

/// I13
#[tokio::test]
async fn the_record_of_a_stage_and_of_a_revocation() {
    let (_api, bundle) = with_stored_key().await;
    for (name, field, value) in [
        ("channel_live", "stage", "live"),
        ("channel_permission_revoked", "permission", "revoked"),
    ] {
        let about = format!("S({name:?})");
        bundle.aws().loses_records_with("fold", &about);
        bundle.event(name, NUMBER).await;
        heals_in_a_day(&bundle, "acme", NUMBER, |seen| seen[field] == value).await;
        let is_told = |event: &Value| {
            let detail = &event["detail"];
            detail["changed"] == json!([field]) && detail["channel"][field] == value
        };
        until_seen(|| bundle.events(), |all| all.iter().any(is_told)).await;
    }
}

/// I13
#[tokio::test]
async fn the_record_of_the_fact_that_a_claim_is_confirmed() {
    let (api, bundle) = with_stored_key().await;
    api.adds(channel("laterCH", None)).await;
    let runs = json!({"event": "channel_running", "data": {"id": "laterCH", "client_id": CLIENT}});
    bundle.webhook(PARTNER, &runs.to_string()).await.is(200);
    bundle.channel_has("laterCH", "claim", "none").await;
    bundle.scan_when_quiet().await;
    let asked = api.asked("channels").await;
    bundle
        .aws()
        .loses_records_with("fold", r#""claimed": Bool(true)"#);
    claim(&bundle, PARTNER, "laterCH").await;
    api.is_asked("channels", asked + 1).await;
    heals_in_a_day(&bundle, "acme", "laterCH", |seen| {
        seen["claim"] == "confirmed"
    })
    .await;
}

/// I5, I13
#[tokio::test]
async fn the_record_of_the_fact_that_a_client_has_moved() {
    let (_api, bundle) = with_stored_key().await;
    bundle.aws().loses_records_with("fold", r#"S("globex")"#);
    let binding = Binding {
        tenant: id("globex"),
        client: id(CLIENT),
        fresh: false,
    };
    let moved = Assertion {
        binding: Some(binding),
        ..Assertion::default()
    };
    let (number, source) = (channel_ref(PARTNER, NUMBER), Source::Operator);
    let fact = Fact::new(number, source, moved, clock::now(), "move");
    let appended = Facts::new(bundle.table().await).append(&fact).await;
    assert_eq!(appended.expect("the table"), Write::Done);
    heals_in_a_day(&bundle, "globex", NUMBER, |seen| !seen.is_null()).await;
    let before = bundle.channel(PARTNER, "acme", NUMBER).await;
    assert_eq!(before, None);
}

async fn with_stored_key() -> (SimulatedPartnerApi, Bundle) {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    (api, bundle)
}

/// Once all that is lost has been lost, a channel is not as `is_so` says; it is when a day has passed.
async fn heals_in_a_day(
    bundle: &Bundle,
    tenant: &str,
    number: &str,
    is_so: impl Fn(&Value) -> bool,
) {
    bundle.scan_when_quiet().await;
    let lost = bundle.channel(PARTNER, tenant, number).await;
    let lost = lost.unwrap_or(Value::Null);
    assert!(!is_so(&lost), "{lost}");
    bundle.aws().loses_no_record();
    bundle.refold_is_due().await;
    bundle.channel_until((PARTNER, tenant, number), is_so).await;
}

/// I13
#[tokio::test]
async fn facts_that_cannot_be_read_are_put_off_and_hold_up_no_other_number() {
    let api = SimulatedPartnerApi::start().await;
    let both = [NUMBER, "twoCH"];
    for number in both {
        api.adds(new_channel(number)).await;
    }
    let bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, &both.join(",")).await;
    for number in both {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle
        .aws()
        .loses_records_with("fold", r#"S("channel_live")"#);
    for number in both {
        bundle.event("channel_live", number).await;
    }
    bundle.scan_when_quiet().await;
    bundle.aws().loses_no_record();
    let calls = &bundle.aws().calls;
    let fails = Fault::of("fold", Harm::Fail).about(&format!("FACT#{PARTNER}#{NUMBER}"));
    let fails = calls.hurt(fails);
    bundle.refold_is_due().await;
    bundle.channel_has("twoCH", "stage", "live").await;
    until_so("it is tried", || calls.hits(fails) > 0).await;
    let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
    assert_eq!(seen.expect("it is theirs")["stage"], "running");
    until(|| async {
        let due = Refolds::new(bundle.table().await);
        let (partner, now) = (id(PARTNER), clock::now());
        let due = due.due(&partner, None, now, 10).await;
        let rows = due.expect("the table").rows;
        rows.is_empty().then_some(()).ok_or(format!("{rows:?}"))
    })
    .await;
    calls.heal();
    bundle.refold_is_due().await;
    bundle.channel_has(NUMBER, "stage", "live").await;
}
