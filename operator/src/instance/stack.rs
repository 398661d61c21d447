//! The instance in a CloudFormation stack: read from its outputs, with the credentials that AWS's own tools use.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_cloudformation::config::ProvideCredentials;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::operation::describe_stacks::{
    DescribeStacksError, DescribeStacksOutput,
};
use dialog360::client::KeysPath;
use dialog360::id::PartnerId;
use onboarding::queue::Rate;
use runtime::aws::{KmsSeal, SecretsManagerSource};
use runtime::settings::PartnerIds;
use store::table::Table;

use super::ConnectionSettings;

/// The time-out for opening a connection: enough for a machine far from the region.
const CONNECT: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(30);

/// Why the stack cannot be read. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// No region is set.
    #[error("no AWS region is set: set AWS_REGION, or AWS_PROFILE to a profile that has one")]
    NoRegion,
    /// There are no credentials, or they have expired.
    #[error("there are no valid AWS credentials: sign in (aws sso login), or set AWS_PROFILE")]
    NoCredentials,
    /// AWS refuses the credentials, with this code.
    #[error("AWS refuses these credentials ({0}): sign in again, or set AWS_PROFILE")]
    BadCredentials(String),
    /// The credentials have no right to read stacks.
    #[error("these AWS credentials may not read stacks: they need cloudformation:DescribeStacks")]
    NotPermitted,
    /// There is no such stack.
    #[error(
        "there is no stack {0} in {1}: deploy it (sam deploy), name it with --stack, or set AWS_REGION"
    )]
    NoStack(String, String),
    /// The stack exists, but is not deployed, or not one of the bundle.
    #[error(
        "the stack {0} has no output {1} (its status is {2}): deploy it, or name the bundle's stack with --stack"
    )]
    NoOutput(String, &'static str, String),
    /// An output cannot be parsed.
    #[error(
        "the stack's output {0} is malformed ({1}): correct the parameter it comes from and deploy again"
    )]
    Malformed(&'static str, String),
    /// CloudFormation failed.
    #[error(
        "CloudFormation did not answer ({0}): check this machine's network and run the command again"
    )]
    Unavailable(String),
}

/// A stack, and its table.
pub(super) struct Stack {
    config: SdkConfig,
    region: String,
    outputs: Outputs,
    pub(super) table: Table,
}

impl Stack {
    /// Reads the outputs of the stack `name`.
    pub(super) async fn read(name: &str) -> Result<Self, StackError> {
        let times = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(OPERATION)
            .build();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(times)
            .load()
            .await;
        let region = config.region().ok_or(StackError::NoRegion)?.to_string();
        check_credentials(&config).await?;
        let described = aws_sdk_cloudformation::Client::new(&config)
            .describe_stacks()
            .stack_name(name)
            .send()
            .await;
        let described = described.map_err(|error| why(&error, name, &region))?;
        let outputs = Outputs::read(name, &region, &described)?;
        Self::new(config, region, outputs)
    }

    fn new(config: SdkConfig, region: String, outputs: Outputs) -> Result<Self, StackError> {
        let table: String = outputs.required("TableName")?;
        Ok(Self {
            table: Table::new(aws_sdk_dynamodb::Client::new(&config), table.as_str()),
            config,
            region,
            outputs,
        })
    }

    /// The table of large bodies.
    pub(super) fn bodies(&self) -> Result<Table, StackError> {
        let name: String = self.outputs.required("BodiesTableName")?;
        Ok(self.table.beside(&name))
    }

    /// The partners that the bundle serves.
    pub(super) fn served(&self) -> Result<PartnerIds, StackError> {
        self.outputs.required("PartnerIds")
    }

    /// The limit on calls of 360dialog, for each partner.
    pub(super) fn rate(&self) -> Result<Rate, StackError> {
        self.outputs.required("PartnerApiRate")
    }

    pub(super) fn name(&self) -> String {
        format!("stack {} in {}", self.outputs.stack, self.region)
    }

    pub(super) fn secret_location(&self, partner: &PartnerId) -> String {
        let prefix: Result<String, _> = self.outputs.required("PartnerSecretPrefix");
        format!(
            "the secret {}{partner} in Secrets Manager",
            prefix.unwrap_or_default()
        )
    }

    pub(super) fn table_advice(&self) -> String {
        let table: Result<String, _> = self.outputs.required("TableName");
        format!(
            "your AWS credentials need dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem and dynamodb:Query on the \
             table {}",
            table.unwrap_or_default()
        )
    }

    /// Sealing with the stack's KMS key.
    pub(super) fn seal(&self) -> Result<KmsSeal, StackError> {
        let key: String = self.outputs.required("KeyEncryptionKey")?;
        Ok(KmsSeal::new(aws_sdk_kms::Client::new(&self.config), key))
    }

    pub(super) fn connection_settings(&self) -> Result<ConnectionSettings, StackError> {
        let (outputs, config) = (&self.outputs, &self.config);
        let secrets = aws_sdk_secretsmanager::Client::new(config);
        let prefix = outputs.required("PartnerSecretPrefix")?;
        Ok(ConnectionSettings {
            address: outputs.required("ApiUrl")?,
            served: self.served()?,
            api: outputs.required("PartnerApiUrl")?,
            keys_path: outputs
                .optional::<KeysPath>("HubApiKeysPath")?
                .unwrap_or_default(),
            secrets: Arc::new(SecretsManagerSource::new(secrets, prefix)),
        })
    }
}

async fn check_credentials(config: &SdkConfig) -> Result<(), StackError> {
    let provider = config
        .credentials_provider()
        .ok_or(StackError::NoCredentials)?;
    provider
        .provide_credentials()
        .await
        .map(drop)
        .map_err(|_| StackError::NoCredentials)
}

/// The error for a failure. AWS's own message is left out, since it may hold names and values.
fn why<R>(error: &SdkError<DescribeStacksError, R>, name: &str, region: &str) -> StackError {
    match error.code() {
        // The code of CloudFormation for an unknown stack, and for a malformed name.
        Some("ValidationError") => StackError::NoStack(name.to_owned(), region.to_owned()),
        Some("AccessDenied" | "AccessDeniedException") => StackError::NotPermitted,
        Some(code) if is_about_credentials(code) => StackError::BadCredentials(code.to_owned()),
        Some(code) => StackError::Unavailable(code.to_owned()),
        None => StackError::Unavailable("not reached".to_owned()),
    }
}

fn is_about_credentials(code: &str) -> bool {
    [
        "Token",
        "Signature",
        "ClientToken",
        "AccessKey",
        "AuthFailure",
    ]
    .iter()
    .any(|part| code.contains(part))
}

/// A stack's outputs by name. An empty output counts as missing.
struct Outputs {
    stack: String,
    status: String,
    by_name: BTreeMap<String, String>,
}

impl Outputs {
    fn read(
        name: &str,
        region: &str,
        described: &DescribeStacksOutput,
    ) -> Result<Self, StackError> {
        let stack = described.stacks().first();
        let stack = stack.ok_or_else(|| StackError::NoStack(name.to_owned(), region.to_owned()))?;
        let pairs = stack
            .outputs()
            .iter()
            .filter_map(|output| Some((output.output_key()?, output.output_value()?)));
        let filled = pairs.filter(|(_, value)| !value.trim().is_empty());
        Ok(Self {
            stack: name.to_owned(),
            status: stack
                .stack_status()
                .map_or("unknown", |status| status.as_str())
                .to_owned(),
            by_name: filled
                .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
                .collect(),
        })
    }

    fn required<T: FromStr<Err: ToString>>(&self, name: &'static str) -> Result<T, StackError> {
        let missing = || StackError::NoOutput(self.stack.clone(), name, self.status.clone());
        self.optional(name)?.ok_or_else(missing)
    }

    fn optional<T: FromStr<Err: ToString>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, StackError> {
        let malformed = |why: T::Err| StackError::Malformed(name, why.to_string());
        self.by_name
            .get(name)
            .map(|value| value.parse().map_err(malformed))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::{Output, Stack, StackStatus};

    use super::*;

    const ALL: [(&str, &str); 5] = [
        (
            "ApiUrl",
            "https://a1b2.execute-api.eu-central-1.amazonaws.com",
        ),
        ("PartnerIds", "aPA,bPA"),
        ("PartnerSecretPrefix", "360dialog/partners/"),
        ("PartnerApiUrl", "https://hub.360dialog.io/api/v2"),
        ("TableName", "t"),
    ];

    fn outputs(pairs: &[(&str, &str)]) -> Outputs {
        let output = |(key, value): &(&str, &str)| {
            Output::builder()
                .output_key(*key)
                .output_value(*value)
                .build()
        };
        let stack = Stack::builder().stack_status(StackStatus::CreateInProgress);
        let stack = stack
            .set_outputs(Some(pairs.iter().map(output).collect()))
            .build();
        Outputs::read(
            "s",
            "r",
            &DescribeStacksOutput::builder().stacks(stack).build(),
        )
        .unwrap()
    }

    fn settings_from(pairs: &[(&str, &str)]) -> Result<ConnectionSettings, StackError> {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .build();
        super::Stack::new(config, "eu-central-1".to_owned(), outputs(pairs))?.connection_settings()
    }

    #[test]
    fn an_output_that_is_missing_or_malformed_is_named() {
        for name in [
            "ApiUrl",
            "PartnerIds",
            "PartnerSecretPrefix",
            "PartnerApiUrl",
            "TableName",
        ] {
            let others: Vec<(&str, &str)> = ALL
                .into_iter()
                .filter(|(other, _)| *other != name)
                .collect();
            let error = settings_from(&others).err().unwrap().to_string();
            assert!(
                error.contains(&format!(
                    "has no output {name} (its status is CREATE_IN_PROGRESS)"
                )),
                "{error}"
            );
        }
        for name in ["ApiUrl", "PartnerIds", "PartnerApiUrl", "HubApiKeysPath"] {
            let mut pairs: BTreeMap<&str, &str> = ALL.into_iter().collect();
            pairs.insert(name, "needle needle");
            let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
            let error = settings_from(&pairs).err().unwrap().to_string();
            assert!(
                error.contains(&format!("output {name} is malformed")) && !error.contains("needle"),
                "{error}"
            );
        }
    }

    #[test]
    fn no_stack_at_all_is_an_error() {
        let none = DescribeStacksOutput::builder().build();
        assert!(matches!(
            Outputs::read("s", "r", &none),
            Err(StackError::NoStack(..))
        ));
    }
}
