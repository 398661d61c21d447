//! Several keys that 360dialog does not list any more.

use tests::partner_api::{SimulatedPartnerApi, claim, new_channel};
use tests::{Backend, Bundle, PARTNER, text, until, until_seen};

use crate::everywhere::comparison::are_compared;

/// Five numbers with stored keys.
async fn five_numbers() -> (SimulatedPartnerApi, Bundle, Vec<String>) {
    Backend::OneMachine.is_needed();
    let api = SimulatedPartnerApi::start().await;
    let numbers: Vec<String> = (0..5).map(|index| format!("n{index}CH")).collect();
    for number in &numbers {
        api.adds(new_channel(number)).await;
    }
    let bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in &numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.scan_when_quiet().await;
    (api, bundle, numbers)
}

/// I6
#[tokio::test]
async fn three_lost_keys_of_a_fleet_are_made_again_in_a_day() {
    let (api, bundle, numbers) = five_numbers().await;
    for number in &numbers {
        api.loses_keys(number).await;
    }
    are_compared(&api, &bundle).await;
    bundle.comparisons_are_due().await;
    until(|| async {
        let seen = bundle.channels(PARTNER, "acme").await;
        let blocked = seen.iter().filter(|row| row["key"]["status"] == "blocked");
        match blocked.count() {
            2 => Ok(()),
            _ => Err(format!("{seen:?}")),
        }
    })
    .await;
    until_seen(|| api.asked("new_key"), |posts| *posts >= 5 + 3).await;
    // Nor are the others by the way: they wait for another day, or for an operator.
    bundle.waits_are_over().await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.asked("new_key").await, 5 + 3);
    // 360dialog was in trouble: it lists what it had before.
    let seen = bundle.channels(PARTNER, "acme").await;
    let blocked = seen.iter().filter(|row| row["key"]["status"] == "blocked");
    for number in blocked.map(|row| text(&row["id"])) {
        let key = bundle.stored_key(PARTNER, number).await.expect("a key");
        api.has_foreign_key(number, text(&key["key_id"])).await;
        bundle.waits_are_over().await;
        bundle.stored(PARTNER, "acme", number).await;
    }
    assert_eq!(api.asked("new_key").await, 5 + 3);
}

/// I6: such a number is an operator's matter, and uses up nothing that a lost key needs.
#[tokio::test]
async fn foreign_keys_are_no_lost_ones_and_use_up_nothing() {
    let (api, bundle, numbers) = five_numbers().await;
    let (foreign, others) = numbers.split_at(4);
    for number in foreign {
        api.has_foreign_key(number, "theirs").await;
    }
    are_compared(&api, &bundle).await;
    bundle.comparisons_are_due().await;
    for number in foreign {
        bundle.key_is(number, "blocked", "existing_key").await;
    }
    bundle.waits_are_over().await;
    bundle.scan_when_quiet().await;
    api.loses_keys(&others[0]).await;
    for _ in 0..2 {
        let before = api.asked("keys").await;
        bundle.comparisons_are_due().await;
        until_seen(|| api.asked("keys"), |seen| *seen > before).await;
        bundle.scan_when_quiet().await;
    }
    api.is_posted(&others[0], 2).await;
    bundle.stored(PARTNER, "acme", &others[0]).await;
    for number in foreign {
        assert_eq!(api.posts(number).await, 1);
    }
}
