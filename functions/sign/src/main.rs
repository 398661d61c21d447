//! `sign` on AWS.

use std::process::ExitCode;

use runtime::aws::Aws;
use runtime::lambda;
use runtime::secrets::PartnerSecrets;
use sign::{Settings, Sign, routes};
use store::IoTimestamps;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let timestamps = IoTimestamps::new(aws.table(&settings.table_name));
    let sign = Sign {
        settings,
        timestamps,
        secrets: PartnerSecrets::new(aws.partner_secrets()?),
    };
    sign.warm_up().await;
    lambda::serve(routes(sign)).await
}
