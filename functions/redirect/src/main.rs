//! `redirect` on AWS.

use std::process::ExitCode;

use platform::aws::Aws;
use platform::lambda;
use platform::secrets::PartnerSecrets;
use platform::store::Claims;
use redirect::{Redirect, Settings, routes};

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
