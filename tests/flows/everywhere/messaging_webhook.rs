//! A number's messaging webhook: set once for each key, never with a key at a foreign origin, and never in the way of keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::clock;
use serde_json::{Value, json};
use store::{Hooks, Works};
use tests::aws::stack::STACK;
use tests::partner_api::{HOUR, NUMBER, SimulatedPartnerApi};
use tests::partner_api::{answer, claim, loses_the_answer, new_channel};
use tests::{Bundle, PARTNER, Secrets, channel_ref, id, is_on_aws, pk, until, until_seen};
use tokio::net::TcpListener;

const ADDRESS: &str = "https://app.example/{partner_id}/in?number={channel_id}";

/// The webhook of `number`, with a header of this value.
fn webhook(number: &str, header: &str) -> Value {
    let url = format!("https://app.example/{PARTNER}/in?number={number}");
    json!({"url": url, "headers": {"X-Auth": header}})
}

fn secrets(header: &str) -> Secrets {
    let mut secrets = Secrets::two_hubs();
    secrets.file[PARTNER]["messaging_webhook_headers"] = json!({"X-Auth": header});
    secrets
}

/// A bundle with messaging webhooks, beside a simulator that lists `number`.
async fn with_new(number: &str) -> (SimulatedPartnerApi, Bundle) {
    let api = SimulatedPartnerApi::start_as(secrets("needle-header-one"), HOUR).await;
    api.adds(new_channel(number)).await;
    let bundle = with_webhooks(&api, &[]).await;
    (api, bundle)
}

async fn with_webhooks(api: &SimulatedPartnerApi, more: &[(&str, &str)]) -> Bundle {
    let origins = format!("https://waba-v2.360dialog.io,{}", api.url());
    let settings = [
        ("MESSAGING_WEBHOOK_URL", ADDRESS),
        ("MESSAGING_ORIGINS", &origins),
    ];
    let bundle = api.bundle(&[settings.as_slice(), more].concat()).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    bundle
}

async fn is(bundle: &Bundle, number: &str, state: &str) {
    bundle.channel_has(number, "messaging_webhook", state).await;
}

/// Waits until a try of the webhook of `number` has failed, with all that is recorded about it.
async fn has_failed(bundle: &Bundle, number: &str, times: u32) {
    let hooks = Hooks::new(bundle.table().await);
    until(|| async {
        let hook = hooks.read(&channel_ref(PARTNER, number)).await;
        let hook = hook.map_err(|error| error.to_string())?;
        match hook.failures >= times && hook.last_answer.is_some() {
            true => Ok(()),
            false => Err(format!("{hook:?}")),
        }
    })
    .await;
}

/// The operator is told these words about a number.
async fn says(bundle: &Bundle, number: &str, words: &str) {
    let (code, said) = bundle.operator(STACK, &["why", PARTNER, number]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(words), "{words}: {said}");
}

/// A listener on this machine, and how many connections it got.
async fn elsewhere() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok(_connection) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

#[tokio::test]
async fn each_live_key_gets_its_messaging_webhook_exactly_once() {
    let api = SimulatedPartnerApi::start_as(secrets("needle-header-one"), HOUR).await;
    let numbers = [NUMBER, "twoCH", "threeCH"];
    for number in numbers {
        api.adds(new_channel(number)).await;
    }
    let rate = "100/3600s";
    let bundle = with_webhooks(&api, &[("PARTNER_API_RATE", rate)]).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in numbers {
        is(&bundle, number, "set").await;
        bundle.stored(PARTNER, "acme", number).await;
    }
    // What is set already is not set by a sweep.
    bundle.sweep_is_due(PARTNER).await;
    bundle.scan_when_quiet().await;
    bundle.waits_are_over().await;
    bundle.scan_when_quiet().await;
    for number in numbers {
        let set = api.messaging_webhook(PARTNER, number).await;
        assert_eq!(set, webhook(number, "needle-header-one"));
        assert_eq!(api.webhook_calls(number).await, 1, "{number}");
        assert_eq!(api.posts(number).await, 1, "{number}");
    }
    let works = Works::new(bundle.table().await);
    let work = works.inspect(&id(PARTNER)).await.expect("the table").work;
    let counted = work.counting(rate.parse().expect("a rate"), clock::now());
    assert_eq!(counted, api.calls("").await.len(), "calls of the limit");
    let seen = [bundle.scan().await.concat(), bundle.log()].concat();
    assert!(
        !seen.contains("needle-header"),
        "a header is in the log or the table"
    );
    let told = bundle.events().await;
    let is_told = |event: &&Value| event["detail"]["channel"]["messaging_webhook"] == "set";
    assert!(told.iter().any(|event| is_told(&event)), "{told:#?}");
}

#[tokio::test]
async fn a_messaging_webhook_whose_answer_was_lost_is_set_again() {
    let (api, bundle) = with_new(NUMBER).await;
    api.replies("messaging_webhook", loses_the_answer()).await;
    claim(&bundle, PARTNER, NUMBER).await;
    has_failed(&bundle, NUMBER, 1).await;
    is(&bundle, NUMBER, "waiting").await;
    says(&bundle, NUMBER, "answered with status 500").await;
    assert_eq!(api.webhook_calls(NUMBER).await, 1);
    api.recovers().await;
    bundle.waits_are_over().await;
    is(&bundle, NUMBER, "set").await;
    assert_eq!(api.webhook_calls(NUMBER).await, 2);
    assert_eq!(api.posts(NUMBER).await, 1);
}

#[tokio::test]
async fn a_key_is_sent_to_no_foreign_origin_and_follows_no_redirect() {
    let (api, bundle) = with_new(NUMBER).await;
    let (address, connections) = elsewhere().await;
    let foreign = json!({"api_key": "needle-foreign", "id": "77", "address": address});
    let mut reply = answer(201, foreign);
    reply["channel"] = json!(NUMBER);
    api.replies("new_key", reply).await;
    let moved = json!({"status": 307, "headers": {"location": format!("{address}/x")}});
    api.replies("messaging_webhook", json!({"answer": moved}))
        .await;
    api.adds(new_channel("twoCH")).await;
    claim(&bundle, PARTNER, &format!("{NUMBER},twoCH")).await;
    for number in [NUMBER, "twoCH"] {
        is(&bundle, number, "failed").await;
        has_failed(&bundle, number, 1).await;
    }
    let origin = format!("lies on another origin: {address}");
    says(&bundle, NUMBER, &origin).await;
    says(&bundle, "twoCH", "answered with status 307").await;
    bundle.waits_are_over().await;
    for number in [NUMBER, "twoCH"] {
        has_failed(&bundle, number, 2).await;
    }
    assert_eq!(api.webhook_calls("twoCH").await, 2);
    assert_eq!(api.webhook_calls(NUMBER).await, 0);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_key_that_the_messaging_api_refuses_is_not_made_again() {
    let (api, bundle) = with_new(NUMBER).await;
    api.refuses("messaging_webhook", 401).await;
    claim(&bundle, PARTNER, NUMBER).await;
    is(&bundle, NUMBER, "failed").await;
    has_failed(&bundle, NUMBER, 1).await;
    says(&bundle, NUMBER, "does not accept the key (401)").await;
    bundle.waits_are_over().await;
    has_failed(&bundle, NUMBER, 2).await;
    // The partner's calls go on, and so do other keys.
    api.adds(new_channel("twoCH")).await;
    claim(&bundle, PARTNER, "twoCH").await;
    bundle.stored(PARTNER, "acme", "twoCH").await;
    bundle.scan_when_quiet().await;
    bundle.sweep_is_due(PARTNER).await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.posts(NUMBER).await, 1);
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.recovers().await;
    bundle.waits_are_over().await;
    is(&bundle, NUMBER, "set").await;
    api.has_live_key(&bundle, NUMBER).await;
}

#[tokio::test]
async fn another_header_reaches_the_numbers_that_have_a_key() {
    let (api, mut bundle) = with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    is(&bundle, NUMBER, "set").await;
    bundle.scan_when_quiet().await;
    bundle.keep_partner_secrets(&secrets("needle-header-two").file);
    // Else the secret of before is used for five minutes.
    bundle.kill_and_restart().await;
    bundle.sweep_is_due(PARTNER).await;
    let wanted = webhook(NUMBER, "needle-header-two");
    until(|| async {
        let set = api.messaging_webhook(PARTNER, NUMBER).await;
        (set == wanted).then_some(()).ok_or(set.to_string())
    })
    .await;
    is(&bundle, NUMBER, "set").await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.webhook_calls(NUMBER).await, 2);
    assert_eq!(api.posts(NUMBER).await, 1);
}

#[tokio::test]
async fn without_an_address_no_webhook_is_set_and_nothing_is_written_for_one() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    let seen = bundle.stored(PARTNER, "acme", NUMBER).await;
    assert_eq!(seen["messaging_webhook"], "off");
    bundle.sweep_is_due(PARTNER).await;
    bundle.scan_when_quiet().await;
    let items = bundle.items().await;
    assert!(!items.iter().any(|item| pk(item).starts_with("HOOK#")));
    let is_fact = |item: &String| item.contains("messaging_webhook");
    assert!(!bundle.scan().await.iter().any(is_fact));
    assert_eq!(api.webhook_calls(NUMBER).await, 0);
}

#[tokio::test]
async fn a_run_that_dies_at_a_messaging_webhook_leaves_it_to_the_next() {
    let (api, mut bundle) = with_new(NUMBER).await;
    api.replies("messaging_webhook", json!({"hold": true}))
        .await;
    claim(&bundle, PARTNER, NUMBER).await;
    until_seen(|| api.webhook_calls(NUMBER), |calls| *calls == 1).await;
    bundle.kill_and_restart().await;
    api.recovers().await;
    is(&bundle, NUMBER, "set").await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.webhook_calls(NUMBER).await, 2);
    assert_eq!(api.posts(NUMBER).await, 1);
    api.has_live_key(&bundle, NUMBER).await;
}

#[tokio::test]
async fn messaging_webhooks_take_no_turn_from_the_queue() {
    six_numbers().await;
}

/// The line is not empty until the last key is made: the webhooks of the others are set while it waits for calls.
pub(super) async fn messaging_webhooks_are_set_while_the_line_waits() {
    let all = six_numbers().await;
    let last = all.iter().rposition(|call| call["call"] == "new_key");
    let before = all.iter().take(last.expect("a key"));
    let set = before.filter(|call| call["call"] == "messaging_webhook");
    assert!(set.count() >= 4, "{all:#?}");
}

/// All calls for six numbers of a tenant, up to their webhooks.
async fn six_numbers() -> Vec<Value> {
    let rate = "6/4s";
    let api = SimulatedPartnerApi::with_rate(rate).await;
    let numbers: Vec<String> = (0..6).map(|index| format!("n{index}CH")).collect();
    for number in &numbers {
        api.adds(new_channel(number)).await;
    }
    let bundle = with_webhooks(&api, &[("PARTNER_API_RATE", rate)]).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for number in &numbers {
        is(&bundle, number, "set").await;
        assert_eq!(api.webhook_calls(number).await, 1, "{number}");
    }
    let all = api.all_calls().await;
    // A look, and two for each key: no call of the limit was for a webhook, and none came too early.
    assert_eq!(api.calls("").await.len(), 1 + 2 * numbers.len());
    assert!(all.iter().all(|call| call["status"] != 429), "{all:#?}");
    all
}

/// Whatever the messaging API does, keys are made.
#[tokio::test]
async fn a_messaging_api_that_is_silent_keeps_no_key_waiting() {
    let (api, bundle) = with_new(NUMBER).await;
    api.replies("messaging_webhook", json!({"answer": "silence"}))
        .await;
    claim(&bundle, PARTNER, NUMBER).await;
    has_failed(&bundle, NUMBER, 1).await;
    for number in ["twoCH", "threeCH"] {
        api.adds(new_channel(number)).await;
        claim(&bundle, PARTNER, number).await;
        bundle.stored(PARTNER, "acme", number).await;
    }
    is(&bundle, NUMBER, "waiting").await;
    says(&bundle, NUMBER, "did not answer").await;
    assert_eq!(api.posts(NUMBER).await, 1);
}
