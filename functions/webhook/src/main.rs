//! `webhook` on AWS.

use std::process::ExitCode;

use runtime::aws::Aws;
use runtime::lambda;
use runtime::secrets::PartnerSecrets;
use store::Facts;
use webhook::{Settings, Webhook, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let facts = Facts::new(aws.table(&settings.table_name));
    let webhook = Webhook {
        settings,
        facts,
        secrets: PartnerSecrets::new(aws.partner_secrets()?),
    };
    webhook.warm_up().await;
    lambda::serve(routes(webhook)).await
}
