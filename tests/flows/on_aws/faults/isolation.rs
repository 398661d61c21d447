//! What goes wrong with one number, or at one hub, and must not be the others' trouble.

use platform::store::{Channels, Mints};
use serde_json::{Value, json};
use tests::aws::calls::{Fault, Harm, Service};
use tests::{Bundle, PARTNER, PAYING_PARTNER, until};

use crate::partner_api::{Asked, NUMBER, Odd, StandIn, claim};

/// I1
#[tokio::test]
async fn one_record_of_a_batch_that_fails_keeps_no_other_waiting_and_comes_again() {
    let bundle = Bundle::start().await;
    let event = json!({"event": "channel_running", "data": {"id": "seenCH"}}).to_string();
    assert_eq!(bundle.webhook(PARTNER, &event).await.status(), 200);
    let table = bundle.table().await;
    let (channels, mints) = (Channels::new(table.clone()), Mints::new(table));
    let partner = PARTNER.parse().expect("an id");
    // Numbers of its own for each kind: a fact that is folded leads to a look by itself.
    for (kind, numbers) in [
        ("FACT#", ["a", "b", "c", "d"]),
        ("CHANNEL#", ["e", "f", "g", "h"]),
    ] {
        let seen =
            until(|| async { record_of(&bundle, kind).ok_or_else(|| format!("no {kind}")) }).await;
        let [one, two, three, four] = numbers.map(|number| format!("{number}CH"));
        for (bad, good, first) in [(&one, &two, "bad"), (&three, &four, "good")] {
            let fault = Fault::of("provision", Harm::Fail)
                .at(Service::DynamoDb)
                .about(bad);
            bundle.aws().calls.hurt(fault);
            let mut records = vec![renamed(&seen, bad, "11"), renamed(&seen, good, "12")];
            if first == "good" {
                records.reverse();
            }
            let answer = bundle
                .aws()
                .function("provision")
                .invoke(&json!({"Records": records}))
                .await;
            let answer = answer.expect("an answer").json();
            assert_eq!(
                answer,
                json!({"batchItemFailures": [{"itemIdentifier": "11"}]}),
                "{kind} {first} first"
            );
            let good = good.parse().expect("an id");
            let is_done = match kind {
                "FACT#" => channels
                    .read(&partner, &good)
                    .await
                    .expect("a read")
                    .exists(),
                _ => mints
                    .outlook(&partner, &good)
                    .await
                    .expect("a read")
                    .0
                    .is_some(),
            };
            assert!(is_done, "{kind} {first} first");
            bundle.aws().calls.heal();
        }
    }
}

/// I1
#[tokio::test]
async fn a_hub_whose_due_things_cannot_be_read_does_not_stop_the_clock_of_the_next() {
    let (hub, bundle) = StandIn::with_new(NUMBER).await;
    let fault = Fault::of("reconcile", Harm::Fail).about(&format!("DUE#{PARTNER}"));
    bundle.aws().calls.hurt(fault);
    hub.now_says(Asked::NewKey, Odd::Says(409, json!({})));
    claim(&bundle, PAYING_PARTNER, NUMBER).await;
    let is_waiting = |seen: &Value| seen["key"]["reason"] == "not_running";
    bundle
        .channel_until((PAYING_PARTNER, "acme", NUMBER), is_waiting)
        .await;
    hub.recovers();
    bundle.stored(PAYING_PARTNER, "acme", NUMBER).await;
}

/// A record that was handed over, about an item of this kind of the number that was seen.
fn record_of(bundle: &Bundle, kind: &str) -> Option<Value> {
    let batches = bundle.aws().batches();
    let mut records = batches
        .iter()
        .flat_map(|batch| batch["Records"].as_array().into_iter().flatten());
    let is_wanted = |record: &&Value| {
        let pk = record["dynamodb"]["Keys"]["pk"]["S"]
            .as_str()
            .unwrap_or_default();
        pk.starts_with(kind) && pk.ends_with("#seenCH") && record["eventName"] == "INSERT"
    };
    records.find(is_wanted).cloned()
}

/// The same record about another number.
fn renamed(record: &Value, id: &str, sequence: &str) -> Value {
    let mut record: Value =
        serde_json::from_str(&record.to_string().replace("seenCH", id)).expect("JSON");
    record["dynamodb"]["SequenceNumber"] = json!(sequence);
    record
}
