//! Every alarm of the template: its cause is made to happen, and the metrics that it looks at then say so.

use serde_json::json;
use store::table::{DUE_ORDER, Item};
use tests::aws::calls::{Fault, Harm, Service};
use tests::aws::metrics::{API, FAILED_RECORDS};
use tests::partner_api::{HOUR, NUMBER, SimulatedPartnerApi, claim};
use tests::{Ask as _, Bundle, PARTNER, Secrets, pk, until, until_seen};

use crate::template::alarms::Alarm;

/// The sum, or the greatest, of the values that the metrics of an alarm have so far; `None` without a value.
fn seen(bundle: &Bundle, alarm: &Alarm) -> Option<f64> {
    let names = alarm.metrics.iter().map(|metric| {
        let (metric, of) = metric.split_once('<').expect("a resource of the stack");
        let of = match of {
            "HttpApi>" => API.to_owned(),
            "FailedRecords.QueueName>" => FAILED_RECORDS.to_owned(),
            function => function.replace("Function>", "").to_lowercase(),
        };
        format!("{metric}{of}")
    });
    let values = names.flat_map(|name| bundle.aws().metric(&name));
    values.reduce(if alarm.is_sum { |a, b| a + b } else { f64::max })
}

/// Waits until the value that an alarm looks at is above `threshold`.
async fn is_above(bundle: &Bundle, alarm: &Alarm, threshold: f64) {
    let read = || std::future::ready(seen(bundle, alarm));
    until_seen(read, |seen| seen.is_some_and(|seen| seen > threshold)).await;
}

/// Waits until an alarm rings.
async fn rings(bundle: &Bundle, name: &str) {
    let alarm = Alarm::from_template(name);
    is_above(bundle, &alarm, alarm.threshold).await;
}

#[tokio::test]
async fn a_function_that_fails_rings_whatever_starts_it() {
    // A record of the stream; the clock, since nothing is due that the stream's runs would read.
    for about in [NUMBER, &format!("DUE#{PARTNER}")] {
        let bundle = Bundle::start().await;
        let fault = Fault::of("provision", Harm::KillBefore).about(about);
        bundle.aws().calls.hurt(fault.only_the(1));
        bundle.event("channel_running", NUMBER).await;
        rings(&bundle, "FunctionFails").await;
    }
}

#[tokio::test]
async fn an_answer_5xx_rings() {
    let bundle = Bundle::start().await;
    let fault = Fault::of("webhook", Harm::Fail).at(Service::DynamoDb);
    bundle.aws().calls.hurt(fault);
    let body = json!({"event": "channel_running", "data": {"id": NUMBER}});
    bundle.webhook(PARTNER, &body.to_string()).await.is(503);
    rings(&bundle, "ApiFails").await;
}

#[tokio::test]
async fn a_blocked_key_rings() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.refuses("new_key", 400).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.key_is(NUMBER, "blocked", "hub_refused").await;
    rings(&bundle, "KeyIsBlocked").await;
}

#[tokio::test]
async fn credentials_that_are_refused_ring() {
    for (secrets, call) in [
        (Secrets::two_hubs(), "channels"),
        (Secrets::with_login(), "token"),
    ] {
        let api = SimulatedPartnerApi::start_as(secrets, HOUR).await;
        let bundle = api.bundle(&[]).await;
        api.refuses(call, 401).await;
        claim(&bundle, PARTNER, NUMBER).await;
        rings(&bundle, "HubRefusesUs").await;
    }
}

#[tokio::test]
async fn more_than_a_handful_of_refused_webhooks_rings() {
    let bundle = Bundle::start().await;
    let alarm = Alarm::from_template("WebhooksAreRefused");
    let url = format!("{}/{PARTNER}/webhook", bundle.url);
    for _ in 0..5 {
        bundle.http.post(&url).body("{}").ask().await.is(401);
    }
    is_above(&bundle, &alarm, 4.0).await;
    assert_eq!(seen(&bundle, &alarm), Some(alarm.threshold), "a handful");
    bundle.http.post(&url).body("{}").ask().await.is(401);
    rings(&bundle, "WebhooksAreRefused").await;
}

#[tokio::test]
async fn a_record_that_is_given_up_rings_and_the_next_is_handled() {
    let bundle = Bundle::start().await;
    let stack = bundle.aws();
    stack.gives_up_after(2);
    let fault = Fault::of("fold", Harm::Fail).at(Service::DynamoDb);
    stack.calls.hurt(fault.about("badCH"));
    bundle.event("channel_running", "badCH").await;
    bundle.event("channel_running", "goodCH").await;
    rings(&bundle, "RecordIsGivenUp").await;
    let is_joined = |item: &Item| pk(item) == format!("CHANNEL#{PARTNER}#goodCH");
    until_seen(|| bundle.items(), |items| items.iter().any(is_joined)).await;
}

#[tokio::test]
async fn an_event_that_is_given_up_rings() {
    let bundle = Bundle::start().await;
    let fault = Fault::of("fold", Harm::Fail).at(Service::EventBridge);
    bundle.aws().calls.hurt(fault);
    bundle.event("channel_running", NUMBER).await;
    put_back_a_day(&bundle, "OUTBOX#", "put_at").await;
    rings(&bundle, "EventIsGivenUp").await;
}

#[tokio::test]
async fn what_is_due_and_not_done_rings() {
    let bundle = Bundle::start().await;
    bundle.aws().disable_mapping("provision");
    claim(&bundle, PARTNER, NUMBER).await;
    put_back_a_day(&bundle, "CLAIM#", DUE_ORDER).await;
    rings(&bundle, "DueIsLate").await;
}

#[tokio::test]
async fn records_that_wait_grow_old() {
    let bundle = Bundle::start().await;
    let alarm = Alarm::from_template("StreamIsBehind");
    let fault = Fault::of("fold", Harm::Fail).at(Service::DynamoDb);
    bundle.aws().calls.hurt(fault);
    bundle.event("channel_running", NUMBER).await;
    // ms: nobody waits for five minutes here.
    is_above(&bundle, &alarm, 1000.0).await;
}

#[tokio::test]
async fn fold_gets_no_heartbeat_once_its_mapping_is_disabled() {
    stands_still_alone("fold", "FoldStandsStill", "ProvisionStandsStill").await;
}

#[tokio::test]
async fn provision_gets_no_heartbeat_once_its_mapping_is_disabled() {
    stands_still_alone("provision", "ProvisionStandsStill", "FoldStandsStill").await;
}

/// Disables a mapping; the heartbeat that its alarm looks at is there before and not behind that, while the other is.
async fn stands_still_alone(mapping: &str, alarm: &str, other: &str) {
    let bundle = Bundle::start().await;
    let [alarm, other] = [alarm, other].map(Alarm::from_template);
    is_above(&bundle, &alarm, 0.0).await;
    bundle.aws().disable_mapping(mapping);
    // What was under way has arrived two heartbeats later.
    let beats = seen(&bundle, &other).unwrap_or_default();
    is_above(&bundle, &other, beats + 2.0).await;
    let last = seen(&bundle, &alarm);
    is_above(&bundle, &other, beats + 4.0).await;
    assert_eq!(seen(&bundle, &alarm), last);
}

/// Makes the time in an attribute of an item of this kind a day earlier, as soon as there is one.
async fn put_back_a_day(bundle: &Bundle, kind: &str, attribute: &str) {
    let item = until(|| async {
        let mut items = bundle.items().await.into_iter();
        let found = items.find(|item| pk(item).starts_with(kind) && item.contains_key(attribute));
        found.ok_or(format!("no {kind}"))
    });
    let item = item.await;
    bundle.put_back_a_day(&item, attribute).await;
}
