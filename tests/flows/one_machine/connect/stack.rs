//! The program itself, on a stack: CloudFormation and Secrets Manager are stand-ins, DynamoDB is the bundle's own.

use std::process::Output;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tests::{Bundle, PARTNER, PAYING_PARTNER};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{FOREIGN, addresses, ours, set_addresses, unconnected};

const STACK: &str = "whatsapp-onboarding";
const PREFIX: &str = "360dialog/partners/";

/// What the stand-ins know.
struct Account {
    outputs: Vec<(String, String)>,
    secrets: Value,
}

/// A region of AWS, as far as the operator looks.
async fn region(account: Account) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let router = Router::new().fallback(answer).with_state(Arc::new(account));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(State(account): State<Arc<Account>>, headers: HeaderMap, body: String) -> Response {
    match headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
    {
        None => account.describe_stacks(&body),
        Some("secretsmanager.GetSecretValue") => account.secret(&body),
        Some(other) => panic!("{other}"),
    }
}

impl Account {
    /// As the [reference](https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html)
    /// has it.
    fn describe_stacks(&self, body: &str) -> Response {
        assert!(body.contains("Action=DescribeStacks"), "{body}");
        if !body.contains(&format!("StackName={STACK}&"))
            && !body.ends_with(&format!("StackName={STACK}"))
        {
            let error = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error>\
                         <Type>Sender</Type><Code>ValidationError</Code>\
                         <Message>Stack with id other does not exist</Message></Error></ErrorResponse>";
            return (
                StatusCode::BAD_REQUEST,
                [("content-type", "text/xml")],
                error,
            )
                .into_response();
        }
        let member = |(key, value): &(String, String)| {
            format!(
                "<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            )
        };
        let outputs: String = self.outputs.iter().map(member).collect();
        let xml = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <DescribeStacksResult><Stacks><member><StackName>{STACK}</StackName>\
             <CreationTime>2026-04-09T13:09:08.000Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus>\
             <Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        );
        ([("content-type", "text/xml")], xml).into_response()
    }

    fn secret(&self, body: &str) -> Response {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let name = asked["SecretId"].as_str().expect("a name");
        let secret = name
            .strip_prefix(PREFIX)
            .and_then(|partner| self.secrets.get(partner));
        let json = "application/x-amz-json-1.1";
        match secret {
            Some(secret) => {
                let body = json!({"Name": name, "SecretString": secret.to_string()});
                ([("content-type", json)], body.to_string()).into_response()
            }
            None => {
                let body = json!({"__type": "ResourceNotFoundException", "Message": "needle"});
                (
                    StatusCode::BAD_REQUEST,
                    [("content-type", json)],
                    body.to_string(),
                )
                    .into_response()
            }
        }
    }
}

fn outputs(bundle: &Bundle) -> Vec<(String, String)> {
    let partners = format!("{PARTNER},{PAYING_PARTNER}");
    let api = format!("{}/api/v2", bundle.hub);
    let all = [
        ("ApiUrl", bundle.url.as_str()),
        ("PartnerIds", &partners),
        ("PartnerSecretPrefix", PREFIX),
        ("PartnerApiUrl", &api),
        ("TableName", local::bundle::TABLE),
    ];
    all.into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The program `operator connect` with these arguments, against the region at `endpoint`.
async fn operator(bundle: &Bundle, endpoint: &str, arguments: &[&str]) -> Output {
    let table = std::fs::read_to_string(bundle.data().join("endpoint")).expect("the endpoint");
    let mut program = Command::new(tests::program().with_file_name("operator-for-tests"));
    program
        .env_clear()
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ENDPOINT_URL_DYNAMODB", table.trim());
    program
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKID");
    program
        .env("AWS_SECRET_ACCESS_KEY", "needle-aws")
        .arg("connect")
        .args(arguments);
    program.kill_on_drop(true).output().await.expect("it ends")
}

/// What it said on standard output, and on standard error; nothing of it secret.
fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        !out.contains("needle") && !err.contains("needle"),
        "{out}{err}"
    );
    (out, err)
}

#[tokio::test]
async fn a_stack_is_connected_and_disconnected_by_its_outputs() {
    let bundle = unconnected().await;
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    let account = Account {
        outputs: outputs(&bundle),
        secrets: bundle.secrets.file.clone(),
    };
    let endpoint = region(account).await;

    let refused = operator(&bundle, &endpoint, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    let (out, _) = said(&refused);
    assert!(
        out.starts_with(&format!("stack {STACK} in eu-central-1 at {}", bundle.url)),
        "{out}"
    );
    assert!(
        out.contains("TROUBLE        the webhook URL is somebody else's"),
        "{out}"
    );
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        ours(&bundle, PAYING_PARTNER)
    );

    let replaced = operator(&bundle, &endpoint, &["--replace", "--partner", PARTNER]).await;
    assert_eq!(replaced.status.code(), Some(0), "{:?}", said(&replaced));
    assert_eq!(addresses(&bundle, PARTNER).await, ours(&bundle, PARTNER));
    assert!(
        bundle
            .scan()
            .await
            .iter()
            .any(|item| item.contains(&format!("S(\"CONNECT#{PARTNER}\")")))
    );

    let removed = operator(&bundle, &endpoint, &["--remove"]).await;
    assert_eq!(removed.status.code(), Some(0), "{:?}", said(&removed));
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (json!(FOREIGN), Value::Null)
    );
    assert_eq!(
        addresses(&bundle, PAYING_PARTNER).await,
        (Value::Null, Value::Null)
    );
}

#[tokio::test]
async fn what_is_wrong_with_stack_secret_or_arguments_is_one_sentence_and_ends_with_1() {
    let bundle = unconnected().await;
    let mut secrets = bundle.secrets.file.clone();
    secrets.as_object_mut().expect("an object").remove(PARTNER);
    let endpoint = region(Account {
        outputs: outputs(&bundle),
        secrets: secrets.clone(),
    })
    .await;
    let mut fewer = outputs(&bundle);
    fewer.retain(|(key, _)| key != "TableName");
    let incomplete = region(Account {
        outputs: fewer,
        secrets,
    })
    .await;
    let mut elsewhere = outputs(&bundle);
    elsewhere
        .iter_mut()
        .filter(|(key, _)| key == "TableName")
        .for_each(|(_, name)| *name = "absent".to_owned());
    let elsewhere = region(Account {
        outputs: elsewhere,
        secrets: bundle.secrets.file.clone(),
    })
    .await;
    let absent = format!("the secret {PREFIX}{PARTNER} in Secrets Manager is missing: create it");
    for (endpoint, arguments, words) in [
        (&endpoint, &[] as &[&str], absent.as_str()),
        (
            &endpoint,
            &["--stack", "other"],
            "there is no stack other in eu-central-1",
        ),
        (
            &endpoint,
            &["--partner", "otherPA"],
            "the bundle does not serve partner otherPA",
        ),
        (
            &endpoint,
            &["--url", "here"],
            "it must start with https:// or http://",
        ),
        (
            &elsewhere,
            &[],
            "the bundle's table cannot be read or written (DynamoDB: ResourceNotFoundException): your AWS",
        ),
        (
            &incomplete,
            &[],
            "has no output TableName (its status is UPDATE_COMPLETE)",
        ),
    ] {
        let output = operator(&bundle, endpoint, arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let (out, err) = said(&output);
        assert!(
            format!("{out}{err}").contains(words),
            "{words} is missing in:\n{out}{err}"
        );
    }
    assert_eq!(
        addresses(&bundle, PARTNER).await,
        (Value::Null, Value::Null)
    );
}
