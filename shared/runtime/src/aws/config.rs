//! How the SDK's clients are set up: from what Lambda puts into the environment, with one connector for all of them.
//!
//! The SDK's own loader looks further (profile files, web identities, containers, instances), where on Lambda nothing is,
//! and prepares a client of STS for it; and each client of its making reads the root certificates into a TLS set-up of its
//! own, twice. Together that was a third of a function's start.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::sdk_connector;
use crate::settings::Environment;
use crate::tls::{NoTls, Tls};

/// The address of every service; with `_DYNAMODB` and the like behind it, of one.
const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";

/// Opening a connection, a TLS handshake among it, within one region.
const CONNECT: Duration = Duration::from_secs(1);

/// One try of one call. DynamoDB answers within 10 ms as a rule; whoever waits longer had better ask again.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// One call with the SDK's own retries (three tries): shorter than the 5 s the hub waits for a webhook's answer. A function
/// that makes several may take longer; `webhook` has a limit of its own.
const OPERATION: Duration = Duration::from_secs(4);

/// What every client is made from.
pub(super) fn from_environment(environment: &Environment, tls: &Tls) -> Result<SdkConfig, NoTls> {
    let http = tls
        .client()
        .connect_timeout(CONNECT)
        .build()
        .map_err(|_| NoTls)?;
    let times = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    let is_on = |name: &str| {
        environment
            .text(name)
            .map(|text| text.eq_ignore_ascii_case("true"))
    };
    let mut config = SdkConfig::builder();
    config.set_behavior_version(Some(BehaviorVersion::latest()));
    let region = environment
        .text("AWS_REGION")
        .or_else(|| environment.text("AWS_DEFAULT_REGION"));
    config.set_region(region.map(|region| Region::new(region.to_owned())));
    config.set_credentials_provider(credentials(environment));
    config.set_timeout_config(Some(times));
    config.set_retry_config(Some(sdk_connector::retries()));
    config.set_http_client(Some(sdk_connector::by(http)));
    config.set_use_fips(is_on("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"));
    config.set_endpoint_url(environment.text(ENDPOINT_URL).map(str::to_owned));
    config.set_service_config(Some(PerService(environment.clone())));
    Ok(config.build())
}

/// Those of the function's role, which outlive the process that finds them in its environment.
fn credentials(environment: &Environment) -> Option<SharedCredentialsProvider> {
    let (id, secret) = (
        environment.text("AWS_ACCESS_KEY_ID")?,
        environment.text("AWS_SECRET_ACCESS_KEY")?,
    );
    let token = environment.text("AWS_SESSION_TOKEN").map(str::to_owned);
    Some(SharedCredentialsProvider::new(Credentials::new(
        id,
        secret,
        token,
        None,
        "environment",
    )))
}

/// `AWS_ENDPOINT_URL_DYNAMODB` and the like, named as [every SDK][1] names them.
///
/// [1]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
struct PerService(Environment);

impl LoadServiceConfig for PerService {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        self.0
            .text(&format!("{}_{service}", key.env()))
            .map(str::to_owned)
    }
}

// By hand: the environment holds credentials.
impl fmt::Debug for PerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerService")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(environment: &Environment) -> SdkConfig {
        from_environment(environment, &Tls::new().unwrap()).unwrap()
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_endpoint_is_that_of_the_service_before_that_of_all() {
        let all = config(&environment(&[
            ("AWS_ENDPOINT_URL", "http://all.example"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://secrets.example"),
        ]));
        let of_service = |id| {
            let key = ServiceConfigKey::builder()
                .service_id(id)
                .env(ENDPOINT_URL)
                .profile("endpoint_url");
            all.service_config()?.load_config(key.build().ok()?)
        };
        assert_eq!(
            of_service("Secrets Manager").as_deref(),
            Some("http://secrets.example")
        );
        assert_eq!(of_service("DynamoDB"), None);
        assert_eq!(all.endpoint_url(), Some("http://all.example"));
    }

    #[test]
    fn region_and_fips_are_the_environments() {
        let config = config(&environment(&[
            ("AWS_REGION", "eu-central-1"),
            ("AWS_USE_FIPS_ENDPOINT", "true"),
        ]));
        assert_eq!(
            (config.region().map(Region::as_ref), config.use_fips()),
            (Some("eu-central-1"), Some(true))
        );
        assert!(config.credentials_provider().is_none());
    }

    #[test]
    fn nothing_printed_holds_a_credential() {
        let secret = "needle-0001";
        let config = config(&environment(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]));
        assert!(config.credentials_provider().is_some() && !format!("{config:?}").contains(secret));
    }
}
