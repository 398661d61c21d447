//! `reconcile` on AWS.

use std::process::ExitCode;

use reconcile::{Reconcile, Settings};
use runtime::aws::Aws;
use runtime::clock;
use runtime::lambda;
use store::Requeues;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let requeues = Requeues::new(aws.table(&settings.table_name));
    let reconcile = Reconcile { settings, requeues };
    lambda::tick(|| async { reconcile.requeue_due(clock::now()).await }).await
}
