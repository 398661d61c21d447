//! The configuration of the SDK's clients, from the environment that Lambda sets, with one connector for all of them.
//!
//! The SDK's own loader also looks for profile files, web identities, containers and instances, which do not exist on
//! Lambda, and prepares an STS client for them. Each client it makes reads the root certificates twice, into a TLS set-up
//! of its own. Together that was a third of a function's start.

use std::fmt;
use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::sdk_connector;
use crate::settings::Environment;
use crate::tls::{NoTls, Tls};

/// The endpoint of all services; with a suffix such as `_DYNAMODB`, of one service.
const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";

/// The time-out for opening a connection with TLS within one region.
const CONNECT: Duration = Duration::from_secs(1);

/// The time-out of one attempt. DynamoDB usually answers within 10 ms, so a new attempt is better than a long wait.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// The time-out of one call with the SDK's retries (three attempts): shorter than the 5 s that 360dialog waits for the
/// answer to a webhook. A function that makes several calls may take longer; `webhook` has a limit of its own.
const OPERATION: Duration = Duration::from_secs(4);

/// The configuration that every client is made from.
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
    config.set_http_client(Some(sdk_connector::from_client(http)));
    config.set_use_fips(is_on("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(is_on("AWS_USE_DUALSTACK_ENDPOINT"));
    config.set_endpoint_url(environment.text(ENDPOINT_URL).map(str::to_owned));
    config.set_service_config(Some(PerService(environment.clone())));
    Ok(config.build())
}

/// The credentials of the function's role. They are valid for longer than the process that finds them runs.
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

// Not derived: the environment holds credentials.
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
    fn the_endpoint_of_one_service_wins_over_the_endpoint_of_all() {
        let all = config(&environment(&[
            ("AWS_ENDPOINT_URL", "http://all.example"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://secrets.example"),
        ]));
        let endpoint = |id| {
            let key = ServiceConfigKey::builder()
                .service_id(id)
                .env(ENDPOINT_URL)
                .profile("endpoint_url");
            all.service_config()?.load_config(key.build().ok()?)
        };
        assert_eq!(
            endpoint("Secrets Manager").as_deref(),
            Some("http://secrets.example")
        );
        assert_eq!(endpoint("DynamoDB"), None);
        assert_eq!(all.endpoint_url(), Some("http://all.example"));
    }

    #[test]
    fn region_and_fips_come_from_the_environment() {
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
    fn debug_shows_no_credential() {
        let secret = "needle-0001";
        let config = config(&environment(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]));
        assert!(config.credentials_provider().is_some() && !format!("{config:?}").contains(secret));
    }
}
