//! A DynamoDB that checks no credentials: the embedded one, DynamoDB Local.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use store::table::Table;

use crate::sdk_connector;

/// The table `name` at `endpoint`.
pub fn table(endpoint: &str, name: &str) -> Table {
    Table::new(Client::from_conf(dynamodb_config(endpoint)), name)
}

/// The configuration of a client for `endpoint`.
pub fn dynamodb_config(endpoint: &str) -> aws_sdk_dynamodb::Config {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint)
        .http_client(sdk_connector::without_tls())
        .retry_config(sdk_connector::retries())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(Duration::from_secs(10))
                .build(),
        )
        .build()
}
