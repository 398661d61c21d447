//! `operator connect` beside a bundle that makes calls of its own: both have one limit.

use dialog360::id::PartnerId;
use onboarding::queue::Rate;
use runtime::clock;
use serde_json::Value;
use store::{Works, Write};
use tests::aws::stack::STACK;
use tests::partner_api::{HOUR, NUMBER, SimulatedPartnerApi, claim, new_channel};
use tests::{Bundle, PARTNER, Secrets, id, is_on_aws, pk, until};

use super::says;

const RATE: &str = "40/3600s";

/// A bundle whose calls are counted.
async fn limited(api: &SimulatedPartnerApi) -> Bundle {
    let bundle = api.bundle(&[("PARTNER_API_RATE", RATE)]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    bundle
}

/// What `connect` says of [`PARTNER`]; it must end well.
async fn connects(bundle: &Bundle) -> String {
    let mut arguments = vec!["connect", "--partner", PARTNER, "--no-list"];
    if !is_on_aws() {
        arguments.extend(["--url", &bundle.url]);
    }
    says(bundle, &arguments).await
}

/// I12
#[tokio::test]
async fn connect_counts_its_calls_and_its_login_where_the_bundle_counts_its_own() {
    let api = SimulatedPartnerApi::start_as(Secrets::with_login(), HOUR).await;
    api.adds(new_channel(NUMBER)).await;
    let bundle = limited(&api).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;
    let logins = api.asked("token").await;
    connects(&bundle).await;
    assert_eq!(api.asked("token").await, logins + 1);
    assert_eq!(api.asked("set_webhook_url").await, 1);

    let works = Works::new(bundle.table().await);
    let state = works.inspect(&id(PARTNER)).await.expect("the state");
    assert_eq!(state.leased_until, None);
    let counted = state.work.counting(id::<Rate>(RATE), clock::now());
    let calls = api.calls("").await;
    assert_eq!(counted, calls.len(), "{calls:#?}");
}

/// I12
#[tokio::test]
async fn connect_makes_no_call_while_another_holds_the_lease_and_goes_on_after_it() {
    let api = SimulatedPartnerApi::start().await;
    let bundle = limited(&api).await;
    let (works, partner) = (Works::new(bundle.table().await), id::<PartnerId>(PARTNER));
    let leased = works.lease(&partner, "another", clock::now()).await;
    let work = leased.expect("an answer").expect("the lease");
    let keeps_it_until_asked = async {
        until(|| async {
            let saved = works.save(&partner, "another", &work, clock::now()).await;
            assert_eq!(saved.expect("an answer"), Write::Done);
            let items = bundle.items().await;
            let mut work = items.iter().filter(|item| pk(item).starts_with("WORK#"));
            let is_asked = work.any(|work| work.contains_key("asked_at"));
            is_asked
                .then_some(())
                .ok_or("nobody asks for it".to_owned())
        })
        .await;
        assert_eq!(api.calls("").await, Vec::<Value>::new());
        let released = works.release(&partner, "another", &work).await;
        assert_eq!(released.expect("an answer").saved, Write::Done);
    };
    let (said, ()) = tokio::join!(connects(&bundle), keeps_it_until_asked);
    let waits = "  waiting        while the bundle makes calls for this partner";
    assert_eq!(said.matches(waits).count(), 1, "{said}");
    assert_eq!(api.asked("set_webhook_url").await, 1);
}
