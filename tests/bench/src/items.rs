//! Items as our own code writes them: put into an embedded DynamoDB, and read back as DynamoDB's JSON.

use std::error::Error;
use std::path::Path;

use dialog360::Field;
use dialog360::event::{Permission, Stage};
use dialog360::id::ChannelRef;
use embedded::database::Embedded;
use jiff::Timestamp;
use onboarding::channel::Channel;
use onboarding::fact::{Assertion, Binding, Fact, Source};
use serde_json::{Value, json};
use store::{Channels, Facts, StoredChannel};

/// The one partner.
pub(crate) const PARTNER: &str = "benchPA";
/// The one tenant.
pub(crate) const TENANT: &str = "acme";

const TABLE: &str = "onboarding";

/// What the table holds.
pub(crate) struct Items {
    /// A number of the tenant, running.
    pub(crate) channel: Value,
    /// A fact about it that is not joined yet.
    pub(crate) fact: Value,
}

impl Items {
    /// Writes them and reads them back.
    pub(crate) async fn make(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let embedded = Embedded::open(&directory.join("items.db")).await?;
        let table = runtime::aws::local::table(embedded.endpoint(), TABLE);
        table.create().await?;
        let id = ChannelRef::new(PARTNER.parse()?, "oneCH".parse()?);
        let at: Timestamp = "2026-04-09T13:09:08Z".parse()?;
        let binding = Binding {
            tenant: TENANT.parse()?,
            client: "aCL".parse()?,
            fresh: true,
        };
        let known = Assertion {
            client: Some("aCL".parse()?),
            stage: Some(Stage::Running),
            permission: Some(Permission::Granted),
            binding: Some(binding),
            description: [
                (Field::PhoneNumber, "+4930901820".to_owned()),
                (Field::DisplayName, "Bench".to_owned()),
            ]
            .into(),
            ..Assertion::default()
        };
        let news = Assertion {
            description: [(Field::Quality, "High".to_owned())].into(),
            ..Assertion::default()
        };
        let known = Fact::new(id.clone(), Source::Provision, known, at, "bench");
        let news = Fact::new(id.clone(), Source::Webhook, news, at, "bench");

        let mut channel = Channel::unknown(id);
        channel.join(&known);
        let _first = Channels::new(table.clone())
            .save(&StoredChannel {
                channel,
                version: 0,
            })
            .await?;
        let _first = Facts::new(table).append(&news).await?;
        let items = scan(embedded.endpoint()).await?;
        let of_kind = |kind: &str| {
            let is = |item: &&Value| {
                item["pk"]["S"]
                    .as_str()
                    .is_some_and(|pk| pk.starts_with(kind))
            };
            items
                .iter()
                .find(is)
                .cloned()
                .ok_or_else(|| format!("no {kind} was written"))
        };
        Ok(Self {
            channel: of_kind("CHANNEL#")?,
            fact: of_kind("FACT#")?,
        })
    }

    /// The event of a stream whose one record is the fact.
    pub(crate) fn stream_event(&self) -> Value {
        json!({"Records": [{
            "eventID": "c4ca4238a0b923820dcc509a6f75849b",
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1",
            "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/onboarding/stream/2026-04-09T00:00:00.000",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_775_653_748,
                "Keys": {"pk": self.fact["pk"], "sk": self.fact["sk"]},
                "NewImage": self.fact,
                "SequenceNumber": "100000000000000000001",
                "SizeBytes": 512,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }]})
    }
}

/// Everything in the table, as DynamoDB's own JSON.
async fn scan(endpoint: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(endpoint);
    let request = request.header("x-amz-target", "DynamoDB_20120810.Scan");
    let request = request
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20260409T130908Z");
    let request = request.header(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=none/20260409/eu-central-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    );
    let answer: Value = request
        .body(json!({"TableName": TABLE}).to_string())
        .send()
        .await?
        .json()
        .await?;
    answer["Items"]
        .as_array()
        .cloned()
        .ok_or_else(|| format!("the embedded DynamoDB answered {answer}").into())
}
