//! `provision` on AWS.

use std::process::ExitCode;

use platform::aws::Aws;
use platform::lambda;
use provision::{Provision, RunTime, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let table = aws.table(&settings.table_name);
    let provision = Provision::new(
        settings,
        table,
        aws.partner_secrets()?,
        aws.vault(),
        aws.event_bus(),
        &aws.tls,
    )?;
    provision.warm_up().await;
    let provision = &provision;
    lambda::consume(|batch| async move {
        provision
            .handle(&batch.records, RunTime::until(batch.until))
            .await
    })
    .await
}
