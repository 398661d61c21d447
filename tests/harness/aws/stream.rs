//! The two event source mappings, of `fold` and `provision`: batches of the table's stream as [Lambda hands them over][1], and what
//! failed of them once more.
//!
//! [1]: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::BASE64;
use fold::Fold;
use local::follower::Follower;
use provision::Provision;
use runtime::clock;
use serde_json::{Value, json};
use store::stream::{Change, Record, StoppedBefore};
use store::table::Item;
use tokio::task::JoinHandle;

use super::metrics::{FAILED_RECORDS, Metrics};
use super::runtime_api::{Function, REGION};

/// How many records `provision` gets at once; the template says the same.
const PROVISION_BATCH: i32 = 100;

/// The longest a batch that failed waits: tests make many fail.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// All batches that were handed over, as events.
pub(super) type Batches = Arc<Mutex<Vec<Value>>>;

/// The parts that both mappings share.
#[derive(Clone, Default)]
pub(super) struct Watch {
    /// All batches that were handed over.
    pub(super) batches: Batches,
    /// Where their metrics go.
    pub(super) metrics: Metrics,
    /// After how many failures a record is given up; 0 for never.
    pub(super) most_tries: Arc<AtomicUsize>,
    /// The stream loses the records that hold one of these texts, and does not hand them to the function beside it.
    pub(super) lost: Arc<Mutex<Vec<(&'static str, String)>>>,
}

/// Starts both mappings on the table `table` at `endpoint`, in the order of `functions`.
pub(super) async fn map(
    (fold, provision): (&Arc<Function>, &Arc<Function>),
    watch: &Watch,
    endpoint: &str,
    table: &str,
) -> Vec<JoinHandle<()>> {
    let facts = Follower::new("fold", endpoint, table, Fold::takes);
    let due = Follower::new("provision", endpoint, table, Provision::takes);
    let due = due.batches_of(PROVISION_BATCH);
    facts.prepare().await.expect("the table of the checkpoints");
    let follow = |(follower, function): (Follower, &Arc<Function>)| {
        let follower = follower.waiting_at_most(LONGEST_WAIT);
        let mapping = Mapping {
            function: function.clone(),
            watch: watch.clone(),
            table: table.to_owned(),
            head: Mutex::new((String::new(), 0, Instant::now())),
        };
        tokio::spawn(async move {
            let mapping = &mapping;
            let hand_over = |records| mapping.hand_over(records);
            follower.follow(hand_over).await;
        })
    };
    [(facts, fold), (due, provision)].map(follow).into()
}

struct Mapping {
    function: Arc<Function>,
    watch: Watch,
    table: String,
    /// The first record of the last batch, how often it has failed, and since when it is the first.
    head: Mutex<(String, usize, Instant)>,
}

impl Mapping {
    /// Invokes the function with a batch; where it stopped, or the first record if it said nothing.
    async fn hand_over(&self, records: Vec<Record>) -> Result<(), StoppedBefore> {
        let records = self.without_lost(records);
        let event = event(&records, &self.table);
        let batches = || self.watch.batches.lock().expect("nobody panics with it");
        batches().push(event.clone());
        let first = || records.first().map(|record| record.sequence.clone());
        self.grow_old(first().unwrap_or_default());
        let failed = match self.function.invoke(&event).await {
            Ok(answer) => failures(&answer.json()).unwrap_or_else(first),
            Err(failure) => {
                eprintln!("a batch failed: {failure}");
                first()
            }
        };
        let failed = failed.and_then(|failed| self.unless_given_up(failed, &records));
        failed.map_or(Ok(()), |sequence| Err(StoppedBefore(sequence)))
    }

    fn without_lost(&self, mut records: Vec<Record>) -> Vec<Record> {
        let lost = self.watch.lost.lock().expect("nobody panics with it");
        let lost = lost
            .iter()
            .filter(|(name, _)| *name == self.function.name());
        let lost: Vec<&String> = lost.map(|(_, text)| text).collect();
        if !lost.is_empty() {
            let is_lost = |record: &Record| {
                let text = format!("{:?}", record.new);
                lost.iter().any(|lost| text.contains(*lost))
            };
            records.retain(|record| !is_lost(record));
        }
        records
    }

    /// Records for how long the first record of a batch has been the first.
    fn grow_old(&self, first: String) {
        let mut head = self.head.lock().expect("nobody panics with it");
        if head.0 != first {
            *head = (first, 0, Instant::now());
        }
        let age = head.2.elapsed().as_secs_f64() * 1000.0;
        let metrics = &self.watch.metrics;
        metrics.record("AWS/Lambda", "IteratorAge", self.function.name(), age);
    }

    /// The record that failed; the next one if that has failed often enough, whose place then goes to the queue.
    fn unless_given_up(&self, failed: String, records: &[Record]) -> Option<String> {
        let mut head = self.head.lock().expect("nobody panics with it");
        if head.0 == failed {
            head.1 += 1;
        }
        if head.0 != failed || head.1 != self.watch.most_tries.load(Ordering::SeqCst) {
            return Some(failed);
        }
        let metrics = &self.watch.metrics;
        metrics.record("AWS/SQS", "NumberOfMessagesSent", FAILED_RECORDS, 1.0);
        let mut behind = records.iter().skip_while(|it| it.sequence != failed);
        behind.nth(1).map(|next| next.sequence.clone())
    }
}

/// The first record that failed, if any; `None` if the answer cannot be read, which makes the whole batch fail.
fn failures(answer: &Value) -> Option<Option<String>> {
    if answer.is_null() {
        return Some(None);
    }
    let failures = answer.get("batchItemFailures")?.as_array()?.iter();
    let identifiers = failures.map(|failure| failure["itemIdentifier"].as_str());
    let identifiers: Option<Vec<&str>> = identifiers.collect();
    // Sequence numbers are numbers of any length.
    let first = identifiers?.into_iter().min_by_key(|it| (it.len(), *it));
    Some(first.map(str::to_owned))
}

/// A batch as an event.
pub(super) fn event(records: &[Record], table: &str) -> Value {
    json!({"Records": records.iter().map(|record| entry(record, table)).collect::<Vec<_>>()})
}

fn entry(record: &Record, table: &str) -> Value {
    let name = match record.change {
        Change::Inserted => "INSERT",
        Change::Modified => "MODIFY",
        Change::Removed => "REMOVE",
    };
    let mut data = json!({
        "ApproximateCreationDateTime": clock::now().as_second(),
        "Keys": image(&record.keys),
        "SequenceNumber": record.sequence,
        "SizeBytes": 1,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    for (name, item) in [("NewImage", &record.new), ("OldImage", &record.old)] {
        if let Some(item) = item {
            data[name] = image(item);
        }
    }
    json!({
        "eventID": record.sequence,
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": data,
        "eventSourceARN": format!("arn:aws:dynamodb:{REGION}:123456789012:table/{table}/stream/2026-01-01T00:00:00.000"),
    })
}

fn image(item: &Item) -> Value {
    let pairs = item
        .iter()
        .map(|(name, value)| (name.clone(), attribute(value)));
    Value::Object(pairs.collect())
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": BASE64.encode(bytes.as_ref())}),
        AttributeValue::Bool(flag) => json!({"BOOL": flag}),
        AttributeValue::Null(_) => json!({"NULL": true}),
        AttributeValue::Ss(texts) => json!({"SS": texts}),
        AttributeValue::Ns(numbers) => json!({"NS": numbers}),
        AttributeValue::Bs(all) => {
            json!({"BS": all.iter().map(|b| BASE64.encode(b.as_ref())).collect::<Vec<_>>()})
        }
        AttributeValue::L(list) => json!({"L": list.iter().map(attribute).collect::<Vec<_>>()}),
        AttributeValue::M(map) => json!({"M": image(map)}),
        other => panic!("{other:?} is none of DynamoDB's"),
    }
}
