//! `fold` on AWS.

use std::process::ExitCode;

use fold::{Fold, Settings};
use runtime::aws::Aws;
use runtime::{clock, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let table = aws.table(&settings.table_name);
    let bodies = aws.table(&settings.bodies_table_name);
    let fold = Fold::new(settings, table, bodies, aws.event_bus());
    fold.warm_up().await;
    let fold = &fold;
    lambda::consume(
        |records, until| async move { fold.handle(&records, until).await },
        |until| async move { fold.tick(clock::now(), until).await },
    )
    .await
}
