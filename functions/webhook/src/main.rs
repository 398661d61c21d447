//! `webhook` on AWS.

use std::process::ExitCode;

use runtime::aws::Aws;
use runtime::lambda;
use runtime::secrets::PartnerSecrets;
use store::Events;
use webhook::{Settings, Webhook, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let bodies = aws.table(&settings.bodies_table_name);
    let events = Events::new(aws.table(&settings.table_name), bodies);
    let webhook = Webhook {
        settings,
        events,
        secrets: PartnerSecrets::new(aws.partner_secrets()?),
    };
    webhook.warm_up().await;
    lambda::serve(routes(webhook)).await
}
