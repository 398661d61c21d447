//! `reconcile` on AWS.

use std::process::ExitCode;

use platform::aws::Aws;
use platform::clock;
use platform::lambda;
use platform::store::Wakes;
use reconcile::{Reconcile, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let wakes = Wakes::new(aws.table(&settings.table_name));
    let reconcile = Reconcile { settings, wakes };
    lambda::tick(|| async { reconcile.wake_due(clock::now()).await }).await
}
