//! Follows the table's stream as AWS's event source mapping does: it filters records and hands them over in batches. A
//! batch that fails is repeated from the record that failed, and a checkpoint survives a restart. It works with any
//! DynamoDB.

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

/// How many records a batch holds at most, unless a mapping sets another size.
const BATCH: i32 = 100;

/// The pause between two reads of an idle stream.
const IDLE: Duration = Duration::from_millis(100);

/// How often the list of shards is read again.
const DESCRIBE_AGAIN: Duration = Duration::from_secs(30);

/// The first and the longest wait before a failed batch is repeated; it doubles. A mapping may set another longest
/// wait.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The stream could not be read, or a checkpoint not written.
#[derive(Debug, thiserror::Error)]
#[error("the stream: {0}")]
pub struct StreamError(String);

fn failed(what: &'static str) -> impl Fn(&'static str) -> StreamError {
    move |why| StreamError(format!("{what}: {why}"))
}

/// One mapping: a name, and its checkpoints in the stream of one table.
pub struct Follower {
    mapping: &'static str,
    table: String,
    checkpoints: String,
    database: Client,
    streams: streams::Client,
    wants: fn(&Record) -> bool,
    batch_size: i32,
    longest_wait: Duration,
}

impl Follower {
    /// The mapping `mapping` on the table `table` at `endpoint`; it hands over the records for which `wants` holds.
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
            batch_size: BATCH,
            longest_wait: RETRY_WAIT.1,
        }
    }

    /// The same with batches of at most `batch_size` records.
    #[must_use]
    pub fn batches_of(self, batch_size: i32) -> Self {
        Self { batch_size, ..self }
    }

    /// The same, repeating a failed batch after `longest_wait` at the latest.
    #[must_use]
    pub fn waiting_at_most(self, longest_wait: Duration) -> Self {
        Self {
            longest_wait,
            ..self
        }
    }

    /// Hands batches to `handle` for ever. After an error it logs, waits and tries again.
    pub async fn follow<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        handle: impl Fn(Vec<Record>) -> F,
    ) {
        let mut wait = RETRY_WAIT.0;
        loop {
            let Err(error) = self.follow_shards(&handle, &mut wait).await;
            tracing::warn!(%error, mapping = self.mapping, "a batch is repeated");
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(self.longest_wait);
        }
    }

    /// The sequence number of the last record that the mapping has handled in every shard; `None` if there is a shard in
    /// which it has handled none.
    pub async fn handled_until(&self) -> Result<Option<u128>, StreamError> {
        let mut lowest: Option<u128> = None;
        for shard in self.shards(&self.stream().await?).await? {
            let checkpoint = self.checkpoint(&shard).await?;
            let Some(sequence) = checkpoint.and_then(|sequence| sequence.parse().ok()) else {
                return Ok(None);
            };
            lowest = Some(lowest.map_or(sequence, |lowest: u128| lowest.min(sequence)));
        }
        Ok(lowest)
    }

    /// Creates the table of the checkpoints unless it exists.
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

    /// Follows the shards from their checkpoints until something fails.
    async fn follow_shards<F: Future<Output = Result<(), StoppedBefore>>>(
        &self,
        handle: &impl Fn(Vec<Record>) -> F,
        wait: &mut Duration,
    ) -> Result<Infallible, StreamError> {
        loop {
            let mut iterators = self.shard_iterators().await?;
            let described = Instant::now();
            while described.elapsed() < DESCRIBE_AGAIN
                && iterators.iter().any(|(_, iterator)| iterator.is_some())
            {
                let mut any = false;
                for (shard, iterator) in &mut iterators {
                    let Some(from) = iterator.take() else {
                        continue;
                    };
                    let (next, handed) = self.follow_shard(shard, from, handle).await?;
                    *iterator = next;
                    any |= handed;
                }
                *wait = RETRY_WAIT.0;
                if !any {
                    tokio::time::sleep(IDLE).await;
                }
            }
            // All shards have ended. The table has new ones by now, or will have.
            tokio::time::sleep(IDLE).await;
        }
    }

    /// Every shard, parents before children, with an iterator that begins after its checkpoint.
    async fn shard_iterators(&self) -> Result<Vec<(String, Option<String>)>, StreamError> {
        let stream = self.stream().await?;
        let mut iterators = Vec::new();
        for shard in self.shards(&stream).await? {
            let iterator = self
                .iterator(&stream, &shard, self.checkpoint(&shard).await?)
                .await?;
            iterators.push((shard, iterator));
        }
        Ok(iterators)
    }

    /// The ARN of the table's stream.
    async fn stream(&self) -> Result<String, StreamError> {
        let failed = failed("the table's stream");
        let described = self
            .database
            .describe_table()
            .table_name(&self.table)
            .send()
            .await;
        let table = described.map_err(|_| failed("not described"))?.table;
        table
            .and_then(|table| table.latest_stream_arn)
            .ok_or(failed("the table has none"))
    }

    /// The ids of the shards, parents before children.
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

    /// Handles one batch of a shard. Returns the next iterator, and whether there were records.
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
            .limit(self.batch_size)
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
        self.save_checkpoint(shard, &last).await?;
        Ok((got.next_shard_iterator, true))
    }

    /// Hands a batch over. If it fails, saves a checkpoint, so that the records already handled are not repeated.
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
            self.save_checkpoint(shard, &done.sequence).await?;
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
            // The records after the checkpoint were trimmed: continue with the oldest that is left.
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
                    .map_err(|_| failed("a shard")("no iterator"))?
                    .shard_iterator)
            }
            Err(_) => Err(failed("a shard")("no iterator")),
        }
    }

    fn checkpoint_key(&self, shard: &str) -> AttributeValue {
        AttributeValue::S(format!("{}#{shard}", self.mapping))
    }

    async fn checkpoint(&self, shard: &str) -> Result<Option<String>, StreamError> {
        let got = self
            .database
            .get_item()
            .table_name(&self.checkpoints)
            .consistent_read(true);
        let got = got
            .key("shard", self.checkpoint_key(shard))
            .send()
            .await
            .map_err(|_| failed("a checkpoint")("not read"))?;
        Ok(got
            .item
            .and_then(|item| item.get("sequence")?.as_s().ok().cloned()))
    }

    async fn save_checkpoint(&self, shard: &str, sequence: &str) -> Result<(), StreamError> {
        let put = self
            .database
            .put_item()
            .table_name(&self.checkpoints)
            .item("shard", self.checkpoint_key(shard));
        let put = put
            .item("sequence", AttributeValue::S(sequence.to_owned()))
            .send()
            .await;
        put.map(|_| ())
            .map_err(|_| failed("a checkpoint")("not written"))
    }
}

/// How many ancestors of a shard still exist.
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

/// Converts a value of the streams crate into the same value of the DynamoDB crate.
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
