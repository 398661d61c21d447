//! Batches of the table's stream, with partial batch responses: Lambda repeats a batch from the record that failed.

use std::future::Future;

use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item as AnyItem;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::lambda::Error;
use store::stream::{Change, Record, StoppedBefore};
use store::table::Item;

/// Calls `handle` for every batch, and `tick` for every event of a schedule, until Lambda ends the process. Both get
/// the time at which Lambda ends the run. Lambda repeats the batch from the record at which `handle` stopped.
///
/// A record that is not of a DynamoDB stream is logged and skipped. Lambda counts an error of `tick` as one of the
/// function.
pub async fn consume<H, T, E>(
    handle: impl Fn(Vec<Record>, Instant) -> H,
    tick: impl Fn(Instant) -> T,
) -> Result<(), Error>
where
    H: Future<Output = Result<(), StoppedBefore>>,
    T: Future<Output = Result<(), E>>,
    E: Into<Error>,
{
    let (handle, tick) = (&handle, &tick);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        let until = Instant::now() + time_left(event.context.deadline);
        let stopped = match event.payload.records {
            Some(records) => handle(records.into_iter().filter_map(read).collect(), until).await,
            None => tick(until).await.map(Ok).map_err(|error| {
                let error: Error = error.into();
                tracing::error!(%error, "the scheduled run failed");
                error
            })?,
        };
        let failed = stopped
            .err()
            .map(|StoppedBefore(item_identifier)| Failure { item_identifier });
        Ok::<_, Error>(Answer {
            batch_item_failures: failed.into_iter().collect(),
        })
    }))
    .await
}

/// The time until `deadline`, which is in ms since 1970.
fn time_left(deadline: u64) -> Duration {
    let now = u64::try_from(crate::clock::now().as_millisecond()).unwrap_or_default();
    Duration::from_millis(deadline.saturating_sub(now))
}

/// The event of a DynamoDB stream, or of a schedule, which has no records.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Records")]
    records: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamEntry {
    event_name: String,
    dynamodb: StreamData,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamData {
    sequence_number: String,
    keys: AnyItem,
    new_image: Option<AnyItem>,
    old_image: Option<AnyItem>,
}

/// The answer to a batch, as [`ReportBatchItemFailures`][1] defines it.
///
/// [1]: https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    batch_item_failures: Vec<Failure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

fn read(entry: Value) -> Option<Record> {
    let entry: StreamEntry = match serde_json::from_value(entry) {
        Ok(entry) => entry,
        Err(_) => {
            tracing::error!("a record was skipped: it is not of a DynamoDB stream");
            return None;
        }
    };
    let change = match entry.event_name.as_str() {
        "INSERT" => Change::Inserted,
        "MODIFY" => Change::Modified,
        _ => Change::Removed,
    };
    let StreamData {
        sequence_number,
        keys,
        new_image,
        old_image,
    } = entry.dynamodb;
    Some(Record {
        sequence: sequence_number,
        change,
        keys: keys.into(),
        new: new_image.map(Item::from),
        old: old_image.map(Item::from),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_with_both_images() {
        let keys = json!({"pk": {"S": "CHANNEL#aPA#bCH"}, "sk": {"S": "-"}});
        let old = json!({"pk": {"S": "CHANNEL#aPA#bCH"}, "sk": {"S": "-"}, "version": {"N": "1"}, "body": {"B": "AQI="}});
        let entry = json!({
            "eventID": "1", "eventName": "MODIFY", "eventSource": "aws:dynamodb", "awsRegion": "eu-central-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1775653748, "SequenceNumber": "42", "SizeBytes": 59,
                "StreamViewType": "NEW_AND_OLD_IMAGES", "Keys": keys, "OldImage": old, "NewImage": keys,
            },
        });
        let record = read(entry).unwrap();
        assert_eq!(
            (record.sequence.as_str(), record.change, record.kind()),
            ("42", Change::Modified, "CHANNEL")
        );
        let old = record.old.unwrap();
        assert_eq!(old["version"], AttributeValue::N("1".into()));
        assert_eq!(old["body"].as_b().unwrap().as_ref(), [1, 2]);
        assert!(!record.new.unwrap().contains_key("version"));
    }

    #[test]
    fn what_is_no_dynamodb_record_is_skipped() {
        for strange in [
            json!(7),
            json!({}),
            json!({"eventName": "INSERT", "dynamodb": {"Keys": {}}}),
        ] {
            assert!(read(strange).is_none());
        }
    }

    #[test]
    fn the_answer_names_the_record_to_repeat_from() {
        let answer = Answer {
            batch_item_failures: vec![Failure {
                item_identifier: "42".into(),
            }],
        };
        let expected = json!({"batchItemFailures": [{"itemIdentifier": "42"}]});
        assert_eq!(serde_json::to_value(answer).unwrap(), expected);
    }
}
