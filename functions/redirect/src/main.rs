//! `redirect` on AWS.

use std::process::ExitCode;

use redirect::{Redirect, Settings, routes};
use runtime::aws::Aws;
use runtime::lambda;
use runtime::secrets::PartnerSecrets;
use store::Claims;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::start(run).await
}

async fn run(aws: Aws) -> Result<(), lambda::Error> {
    let settings = Settings::from_env(&aws.environment)?;
    let claims = Claims::new(aws.table(&settings.table_name));
    let redirect = Redirect {
        settings,
        claims,
        secrets: PartnerSecrets::new(aws.partner_secrets()?),
    };
    redirect.warm_up().await;
    lambda::serve(routes(redirect)).await
}
