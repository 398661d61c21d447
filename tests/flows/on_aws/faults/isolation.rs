//! What goes wrong with one number, or at one hub, and must not be the others' trouble.

use serde_json::{Value, json};
use store::table::TENANT_PK;
use store::{Channels, Mints};
use tests::aws::calls::{Fault, Harm, Service};
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Bundle, PARTNER, PAYING_PARTNER, channel_ref, until};

/// I1
#[tokio::test]
async fn one_record_of_a_batch_that_fails_keeps_no_other_waiting_and_comes_again() {
    let bundle = Bundle::start().await;
    let calls = &bundle.aws().calls;
    let choice = json!({"client": "seenCL", "channels": ["seenCH"]});
    bundle.onboard(PARTNER, "acme", choice).await;
    let table = bundle.table().await;
    let (channels, mints) = (Channels::new(table.clone()), Mints::new(table));
    // Numbers of its own for each kind. The records of channels are those that bind them: others make nothing due.
    for (kind, bad, good, is_good_first) in [
        ("FACT#", "aCH", "bCH", false),
        ("FACT#", "cCH", "dCH", true),
        ("CHANNEL#", "eCH", "fCH", false),
        ("CHANNEL#", "gCH", "hCH", true),
    ] {
        let seen = until(|| async { record_of(&bundle, kind).ok_or("none".to_owned()) }).await;
        let function = if kind == "FACT#" { "fold" } else { "provision" };
        let fault = Fault::of(function, Harm::Fail).at(Service::DynamoDb);
        calls.hurt(fault.about(bad));
        let mut records = vec![renamed(&seen, bad, "11"), renamed(&seen, good, "12")];
        if is_good_first {
            records.reverse();
        }
        let batch = json!({"Records": records});
        let answer = bundle.aws().function(function).invoke(&batch).await;
        let failed = json!({"batchItemFailures": [{"itemIdentifier": "11"}]});
        assert_eq!(answer.expect("an answer").json(), failed, "{kind} {good}");
        let good = channel_ref(PARTNER, good);
        let is_done = if kind == "FACT#" {
            let channel = channels.read(&good).await;
            channel.expect("a read").exists()
        } else {
            let due = mints.inspect(&good).await.expect("a read").due;
            due.is_some()
        };
        assert!(is_done, "{kind} {good:?}");
        calls.heal();
    }
}

/// I1
#[tokio::test]
async fn a_hub_whose_due_things_cannot_be_read_does_not_stop_the_clock_of_the_next() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    let fault = Fault::of("provision", Harm::Fail).about(&format!("DUE#{PARTNER}"));
    bundle.aws().calls.hurt(fault);
    api.refuses("new_key", 409).await;
    claim(&bundle, PAYING_PARTNER, NUMBER).await;
    let is_waiting = |seen: &Value| seen["key"]["reason"] == "not_running";
    let about = (PAYING_PARTNER, "acme", NUMBER);
    bundle.channel_until(about, is_waiting).await;
    api.recovers().await;
    bundle.stored(PAYING_PARTNER, "acme", NUMBER).await;
}

/// A record that was handed over, about an item of this kind of the number that was seen.
fn record_of(bundle: &Bundle, kind: &str) -> Option<Value> {
    let batches = bundle.aws().batches();
    let batches = batches.iter().filter_map(|it| it["Records"].as_array());
    let is_wanted = |record: &&Value| {
        let pk = record["dynamodb"]["Keys"]["pk"]["S"].as_str();
        let is_it = pk.is_some_and(|pk| pk.starts_with(kind) && pk.ends_with("#seenCH"));
        let is_bound = |image: &str| record["dynamodb"][image][TENANT_PK].is_object();
        let binds = is_bound("NewImage") && !is_bound("OldImage");
        is_it && (binds || kind == "FACT#")
    };
    batches.flatten().find(is_wanted).cloned()
}

/// The same record about another number.
fn renamed(record: &Value, id: &str, sequence: &str) -> Value {
    let record = record.to_string().replace("seenCH", id);
    let mut record: Value = serde_json::from_str(&record).expect("JSON");
    record["dynamodb"]["SequenceNumber"] = json!(sequence);
    record
}
