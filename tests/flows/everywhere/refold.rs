//! All facts of a bound channel are joined anew once a day; `on_aws::lost` says what heals by that.

use store::table::{DUE_ORDER, Item};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Bundle, PARTNER, assert_same, pk, until};

/// A day, ms.
const DAY: i64 = 24 * 3600 * 1000;

/// I13
#[tokio::test]
async fn a_day_without_news_changes_nothing_and_the_next_one_comes() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.event("channel_live", "strayCH").await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    let before = bundle.scan_when_quiet().await;
    let first = due(&bundle).await;
    bundle.refold_is_due().await;
    until(|| async {
        let now = due(&bundle).await;
        // While it is taken it has another time of day.
        let is_done = now >= first && (now - first) % DAY == 0;
        is_done.then_some(()).ok_or(format!("{first} {now}"))
    })
    .await;
    assert_same(&before, &bundle.scan_when_quiet().await);
    assert_eq!(api.posts(NUMBER).await, 1);
    let stray = format!("REFOLD#{PARTNER}#strayCH");
    let items = bundle.items().await;
    assert!(items.iter().all(|item| pk(item) != stray), "it is nobody's");
}

/// When the facts of the number are joined anew, ms.
async fn due(bundle: &Bundle) -> i64 {
    let items = bundle.items().await;
    let of_number = format!("REFOLD#{PARTNER}#{NUMBER}");
    let is_of_number = |item: &&Item| pk(item) == of_number;
    let item = items.iter().find(is_of_number).expect("it waits");
    let due = item[DUE_ORDER].as_n().expect("a number");
    due.parse().expect("a time")
}
