//! `provision` on AWS.

use std::process::ExitCode;

use provision::{Provision, Settings};
use runtime::aws::Aws;
use runtime::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let table = aws.table(&settings.table_name);
    let (secrets, seal) = (aws.partner_secrets()?, aws.seal()?);
    let provision = Provision::new(settings, table, secrets, seal, &aws.tls)?;
    provision.warm_up().await;
    let provision = &provision;
    lambda::consume(
        |records, until| async move { provision.handle(&records, until).await },
        |until| async move { provision.tick(until).await },
    )
    .await
}
