//! The hello-world that makes the calls of `sign`, with the SDK set up as [Lambda's guide][1] does: what the two
//! have in common is the SDK's. As the benchmark runs it, it has one root certificate to read and not the machine's 140.
//!
//! [1]: https://docs.aws.amazon.com/lambda/latest/dg/rust-handler.html

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_http::{Error, Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let (table, secrets) = (
        aws_sdk_dynamodb::Client::new(&config),
        aws_sdk_secretsmanager::Client::new(&config),
    );
    let write = || {
        table
            .update_item()
            .table_name("onboarding")
            .key("pk", AttributeValue::S("hello".to_owned()))
            .send()
    };
    let read = secrets
        .get_secret_value()
        .secret_id("360dialog/partners/hello")
        .send();
    let (written, read) = tokio::join!(write(), read);
    written?;
    read?;
    run(service_fn(|_: Request| async {
        write().await?;
        Ok::<_, Error>("hello")
    }))
    .await
}
