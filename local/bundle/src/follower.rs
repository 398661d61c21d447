//! Follows the table's stream as AWS's event source mapping does: batches, a filter, a batch that stops comes again
//! from where it stopped, and a checkpoint that survives a restart. It speaks to any DynamoDB.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use aws_sdk_dynamodbstreams as streams;
use aws_sdk_dynamodbstreams::types::{OperationType, Shard, ShardIteratorType};
use store::stream::{Change, Record, StoppedBefore};
use store::table::Item;
use tokio::time::Instant;

/// How many records a batch holds at most, unless a mapping says otherwise.
const BATCH: i32 = 100;

/// How long an idle stream is left alone.
const IDLE: Duration = Duration::from_millis(100);

/// How often the list of shards is looked at again.
const DESCRIBE: Duration = Duration::from_secs(30);

/// The wait before a batch that stopped comes again; it doubles up to the second, unless a mapping says otherwise.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The stream could not be read, or a checkpoint not written.
#[derive(Debug, thiserror::Error)]
#[error("the stream: {0}")]
pub struct StreamError(String);

fn failed(what: &'static str) -> impl Fn(&'static str) -> StreamError {
    move |why| StreamError(format!("{what}: {why}"))
}

/// One mapping: a named place in the stream of one table.
pub struct Follower {
    mapping: &'static str,
    table: String,
    checkpoints: String,
    database: Client,
    streams: streams::Client,
    wants: fn(&Record) -> bool,
    most: i32,
    longest_wait: Duration,
}

impl Follower {
    /// The mapping `mapping` on the table `table` at `endpoint`, which hands over the records that it `wants`.
    pub fn new(
        mapping: &'static str,
        endpoint: &str,
        table: &str,
        wants: fn(&Record) -> bool,
    ) -> Self {
        let config = runtime::aws::local::dynamodb_config(endpoint);
        let mut streams = streams::Config::builder()
            .behavior_version(streams::config::BehaviorVersion::latest())
            .region(config.region().cloned())
            .credentials_provider(streams::config::Credentials::new(
                "local", "local", None, None, "local",
            ))
            .endpoint_url(endpoint);
        streams.set_http_client(config.http_client());
        Self {
            mapping,
            table: table.to_owned(),
            checkpoints: format!("{table}-checkpoints"),
            database: Client::from_conf(config),
            streams: streams::Client::from_conf(streams.build()),
            wants,
            most: BATCH,
            longest_wait: RETRY.1,
        }
    }

    /// The same with batches of at most `most` records.
    #[must_use]
    pub fn batches_of(self, most: i32) -> Self {
        Self { most, ..self }
    }

    /// The same where a batch that stopped comes again after `longest_wait` at the latest.
    #[must_use]
    pub fn waiting_at_most(self, longest_wait: Duration) -> Self {
        Self {
            longest_wait,
            ..self
        }
    }

    /// Hands batches to `handle` for ever; trouble is logged and waited out.
    pub async fn follow<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        handle: impl Fn(Vec<Record>) -> F,
    ) {
        let mut wait = RETRY.0;
        loop {
            let Err(error) = self.follow_on(&handle, &mut wait).await;
            tracing::warn!(%error, mapping = self.mapping, "a batch comes again");
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(self.longest_wait);
        }
    }

    /// Makes the table of the checkpoints unless it is there.
    pub async fn prepare(&self) -> Result<(), StreamError> {
        let failed = failed("the table of the checkpoints");
        let name = AttributeDefinition::builder()
            .attribute_name("shard")
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder()
            .attribute_name("shard")
            .key_type(KeyType::Hash);
        let created = self
            .database
            .create_table()
            .table_name(&self.checkpoints)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(name.build().map_err(|_| failed("its key"))?)
            .key_schema(key.build().map_err(|_| failed("its key"))?)
            .send()
            .await;
        match created {
            Err(error)
                if !error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_in_use_exception()) =>
            {
                Err(failed("not made"))
            }
            _ => Ok(()),
        }
    }

    /// Follows the shards from their checkpoints on, until something fails.
    async fn follow_on<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        handle: &impl Fn(Vec<Record>) -> F,
        wait: &mut Duration,
    ) -> Result<Infallible, StreamError> {
        loop {
            let mut places = self.places().await?;
            let described = Instant::now();
            while described.elapsed() < DESCRIBE && places.iter().any(|(_, place)| place.is_some())
            {
                let mut any = false;
                for (shard, place) in &mut places {
                    let Some(from) = place.take() else { continue };
                    let (next, handed) = self.follow_shard(shard, from, handle).await?;
                    *place = next;
                    any |= handed;
                }
                *wait = RETRY.0;
                if !any {
                    tokio::time::sleep(IDLE).await;
                }
            }
            // All shards ended: the table has others by now, or will have.
            tokio::time::sleep(IDLE).await;
        }
    }

    /// Every shard, parents before children, with the place to read on from.
    async fn places(&self) -> Result<Vec<(String, Option<String>)>, StreamError> {
        let failed = failed("the table's stream");
        let described = self
            .database
            .describe_table()
            .table_name(&self.table)
            .send()
            .await;
        let table = described.map_err(|_| failed("not described"))?.table;
        let stream = table
            .and_then(|table| table.latest_stream_arn)
            .ok_or(failed("the table has none"))?;
        let mut places = Vec::new();
        for shard in self.shards(&stream).await? {
            let place = self
                .iterator(&stream, &shard, self.checkpoint(&shard).await?)
                .await?;
            places.push((shard, place));
        }
        Ok(places)
    }

    /// Shards, parents before children.
    async fn shards(&self, stream: &str) -> Result<Vec<String>, StreamError> {
        let mut shards: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut start: Option<String> = None;
        loop {
            let page = self
                .streams
                .describe_stream()
                .stream_arn(stream)
                .set_exclusive_start_shard_id(start);
            let page = page
                .send()
                .await
                .map_err(|_| failed("the shards")("not described"))?;
            let Some(page) = page.stream_description else {
                break;
            };
            shards.extend(page.shards.unwrap_or_default().into_iter().filter_map(
                |Shard {
                     shard_id,
                     parent_shard_id,
                     ..
                 }| Some((shard_id?, parent_shard_id)),
            ));
            start = page.last_evaluated_shard_id;
            if start.is_none() {
                break;
            }
        }
        let mut ordered: Vec<String> = shards.keys().cloned().collect();
        ordered.sort_by_key(|id| depth(&shards, id));
        Ok(ordered)
    }

    /// One batch of a shard: the place behind it, and whether there were records.
    async fn follow_shard<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        shard: &str,
        from: String,
        handle: &impl Fn(Vec<Record>) -> F,
    ) -> Result<(Option<String>, bool), StreamError> {
        let got = self
            .streams
            .get_records()
            .shard_iterator(from)
            .limit(self.most)
            .send()
            .await;
        let got = got.map_err(|_| failed("a shard")("not read"))?;
        let records: Vec<Record> = got
            .records
            .unwrap_or_default()
            .into_iter()
            .filter_map(record)
            .collect();
        let Some(last) = records.last().map(|record| record.sequence.clone()) else {
            return Ok((got.next_shard_iterator, false));
        };
        let wanted: Vec<Record> = records
            .iter()
            .filter(|record| (self.wants)(record))
            .cloned()
            .collect();
        if !wanted.is_empty() {
            self.hand_over(shard, &records, wanted, handle).await?;
        }
        self.keep_checkpoint(shard, &last).await?;
        Ok((got.next_shard_iterator, true))
    }

    /// Hands a batch over; if it stops, keeps the place so that what was done does not come again.
    async fn hand_over<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        shard: &str,
        all: &[Record],
        wanted: Vec<Record>,
        handle: &impl Fn(Vec<Record>) -> F,
    ) -> Result<(), StreamError> {
        let Err(StoppedBefore(sequence)) = handle(wanted).await else {
            return Ok(());
        };
        let done = all
            .iter()
            .take_while(|record| record.sequence != sequence)
            .last();
        if let Some(done) = done {
            self.keep_checkpoint(shard, &done.sequence).await?;
        }
        Err(failed("a batch")("stopped"))
    }

    async fn iterator(
        &self,
        stream: &str,
        shard: &str,
        after: Option<String>,
    ) -> Result<Option<String>, StreamError> {
        let kind = if after.is_some() {
            ShardIteratorType::AfterSequenceNumber
        } else {
            ShardIteratorType::TrimHorizon
        };
        let request = self
            .streams
            .get_shard_iterator()
            .stream_arn(stream)
            .shard_id(shard)
            .shard_iterator_type(kind);
        match request.set_sequence_number(after).send().await {
            Ok(got) => Ok(got.shard_iterator),
            // What lies behind the checkpoint was trimmed: go on with the oldest that is left.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_trimmed_data_access_exception()) =>
            {
                let request = self
                    .streams
                    .get_shard_iterator()
                    .stream_arn(stream)
                    .shard_id(shard);
                let oldest = request
                    .shard_iterator_type(ShardIteratorType::TrimHorizon)
                    .send()
                    .await;
                Ok(oldest
                    .map_err(|_| failed("a shard")("no place in it"))?
                    .shard_iterator)
            }
            Err(_) => Err(failed("a shard")("no place in it")),
        }
    }

    fn place(&self, shard: &str) -> AttributeValue {
        AttributeValue::S(format!("{}#{shard}", self.mapping))
    }

    async fn checkpoint(&self, shard: &str) -> Result<Option<String>, StreamError> {
        let got = self
            .database
            .get_item()
            .table_name(&self.checkpoints)
            .consistent_read(true);
        let got = got
            .key("shard", self.place(shard))
            .send()
            .await
            .map_err(|_| failed("a checkpoint")("not read"))?;
        Ok(got
            .item
            .and_then(|item| item.get("sequence")?.as_s().ok().cloned()))
    }

    async fn keep_checkpoint(&self, shard: &str, sequence: &str) -> Result<(), StreamError> {
        let put = self
            .database
            .put_item()
            .table_name(&self.checkpoints)
            .item("shard", self.place(shard));
        let put = put
            .item("sequence", AttributeValue::S(sequence.to_owned()))
            .send()
            .await;
        put.map(|_| ())
            .map_err(|_| failed("a checkpoint")("not written"))
    }
}

/// How many ancestors of a shard are still there.
fn depth<'a>(shards: &'a BTreeMap<String, Option<String>>, mut id: &'a String) -> usize {
    let mut depth = 0;
    while let Some(Some(parent)) = shards.get(id) {
        depth += 1;
        id = parent;
    }
    depth
}

fn record(record: streams::types::Record) -> Option<Record> {
    let change = match record.event_name? {
        OperationType::Insert => Change::Inserted,
        OperationType::Modify => Change::Modified,
        _ => Change::Removed,
    };
    let data = record.dynamodb?;
    Some(Record {
        sequence: data.sequence_number?,
        change,
        keys: item(data.keys?)?,
        new: data.new_image.and_then(item),
        old: data.old_image.and_then(item),
    })
}

fn item(item: std::collections::HashMap<String, streams::types::AttributeValue>) -> Option<Item> {
    item.into_iter()
        .map(|(name, value)| Some((name, attribute(value)?)))
        .collect()
}

/// The same value in the type of the other SDK crate.
fn attribute(value: streams::types::AttributeValue) -> Option<AttributeValue> {
    use streams::types::AttributeValue as From;
    Some(match value {
        From::S(text) => AttributeValue::S(text),
        From::N(number) => AttributeValue::N(number),
        From::B(bytes) => AttributeValue::B(bytes),
        From::Bool(flag) => AttributeValue::Bool(flag),
        From::Null(null) => AttributeValue::Null(null),
        From::Ss(texts) => AttributeValue::Ss(texts),
        From::Ns(numbers) => AttributeValue::Ns(numbers),
        From::Bs(bytes) => AttributeValue::Bs(bytes),
        From::L(list) => AttributeValue::L(list.into_iter().map(attribute).collect::<Option<_>>()?),
        From::M(map) => AttributeValue::M(item(map)?),
        _ => return None,
    })
}
