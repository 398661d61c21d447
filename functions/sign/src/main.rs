//! `sign` on AWS.

use std::process::ExitCode;

use platform::aws::Aws;
use platform::lambda;
use platform::secrets::PartnerSecrets;
use platform::store::Seconds;
use sign::{Settings, Sign, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let seconds = Seconds::new(aws.table(&settings.table_name));
    let sign = Sign {
        settings,
        seconds,
        secrets: PartnerSecrets::new(aws.partner_secrets()?),
    };
    sign.warm_up().await;
    lambda::serve(routes(sign)).await
}
