//! `channels` on AWS.

use std::process::ExitCode;

use channels::{Channels, Settings, routes};
use runtime::aws::Aws;
use runtime::lambda;
use store::{self, ClaimedIds};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let table = aws.table(&settings.table_name);
    let channels = Channels {
        settings,
        channels: store::Channels::new(table.clone()),
        claimed: ClaimedIds::new(table),
    };
    channels.warm_up().await;
    lambda::serve(routes(channels)).await
}
