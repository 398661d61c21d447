//! `operator connect` on a stack of CloudFormation.

use serde_json::{Value, json};
use tests::aws::stack::STACK;
use tests::{Bundle, PARTNER, PAYING_PARTNER, pk};

use crate::one_machine::connect::{FOREIGN, NONE, addresses, is_connected, says, set_addresses};

/// A bundle whose hub knows no address of it, but for the foreign one of a partner.
async fn deployed() -> Bundle {
    let bundle = Bundle::start().await;
    bundle.aws().deploy(STACK, &[]);
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    set_addresses(&bundle, PAYING_PARTNER, "", "").await;
    bundle
}

#[tokio::test]
async fn a_stack_is_connected_and_disconnected_by_its_outputs() {
    let bundle = deployed().await;
    let (_, said) = bundle.operator(STACK, &["connect", "--check"]).await;
    says(
        &said,
        &["  table          onboarding would be protected against deletion"],
    );
    assert!(
        !bundle
            .table()
            .await
            .is_protected()
            .await
            .expect("an answer")
    );
    let (code, said) = bundle.operator(STACK, &["connect"]).await;
    assert_eq!(code, Some(1));
    let start = format!("stack {STACK} in eu-central-1 at {}", bundle.url);
    assert!(said.starts_with(&start), "{said}");
    says(
        &said,
        &["TROUBLE        the webhook URL is somebody else's"],
    );
    is_connected(&bundle, PAYING_PARTNER).await;
    says(
        &said,
        &["  table          onboarding is protected against deletion now"],
    );
    assert!(
        bundle
            .table()
            .await
            .is_protected()
            .await
            .expect("an answer")
    );

    let replace = ["connect", "--replace", "--partner", PARTNER];
    let (code, said) = bundle.operator(STACK, &replace).await;
    assert_eq!(code, Some(0), "{said}");
    says(&said, &["onboarding is protected against deletion already"]);
    is_connected(&bundle, PARTNER).await;
    let kept = format!("CONNECT#{PARTNER}");
    assert!(bundle.items().await.iter().any(|item| pk(item) == kept));

    let (code, said) = bundle.operator(STACK, &["connect", "--remove"]).await;
    assert_eq!(code, Some(0), "{said}");
    let before = (json!(FOREIGN), Value::Null);
    assert_eq!(addresses(&bundle, PARTNER).await, before);
    assert_eq!(addresses(&bundle, PAYING_PARTNER).await, NONE);
}

#[tokio::test]
async fn what_is_wrong_with_stack_secret_or_table_is_one_sentence_and_ends_with_1() {
    let bundle = deployed().await;
    let elsewhere = [("PartnerSecretPrefix", "elsewhere/")];
    bundle.aws().deploy("without-secrets", &elsewhere);
    let absent = [("TableName", "absent")];
    bundle.aws().deploy("without-table", &absent);
    for (stack, words) in [
        (
            "without-secrets",
            "the secret elsewhere/aAbBcCPA in Secrets Manager is missing: create it",
        ),
        ("other", "there is no stack other in eu-central-1"),
        (
            "without-table",
            "the bundle's table cannot be read or written (DynamoDB: ResourceNotFoundException): your AWS",
        ),
    ] {
        let (code, said) = bundle.operator(stack, &["connect"]).await;
        assert_eq!(code, Some(1), "{stack}");
        says(&said, &[words]);
    }
    let before = (json!(FOREIGN), Value::Null);
    assert_eq!(addresses(&bundle, PARTNER).await, before);
    assert_eq!(addresses(&bundle, PAYING_PARTNER).await, NONE);
}
