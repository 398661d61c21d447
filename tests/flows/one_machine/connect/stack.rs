//! The program itself, on a stack: CloudFormation and Secrets Manager are stand-ins, DynamoDB is the bundle's own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use operator::Instance;
use runtime::settings::Environment;
use serde_json::{Value, json};
use tests::partner_api::serve;
use tests::{Bundle, PARTNER, PAYING_PARTNER, channel_ref, pk, text};
use tokio::process::Command;

use super::{FOREIGN, NONE, addresses, is_connected, says, set_addresses, unconnected};

const STACK: &str = "whatsapp-onboarding";
const CONNECT: [&str; 3] = ["connect", "--stack", STACK];
const PREFIX: &str = "360dialog/partners/";
const KEYS: &str = "360dialog/channels/";
const NAMESPACE: &str = "http://cloudformation.amazonaws.com/doc/2010-05-15/";

/// What the stand-ins know.
struct Account {
    outputs: Vec<(&'static str, String)>,
    secrets: Value,
}

impl Account {
    /// What a deployment of `bundle` would have.
    fn with(bundle: &Bundle) -> Self {
        let outputs = vec![
            ("ApiUrl", bundle.url.clone()),
            ("PartnerIds", format!("{PARTNER},{PAYING_PARTNER}")),
            ("PartnerSecretPrefix", PREFIX.to_owned()),
            ("PartnerApiUrl", format!("{}/api/v2", bundle.hub)),
            ("ChannelSecretPrefix", KEYS.to_owned()),
            ("TableName", embedded::settings::TABLE.to_owned()),
        ];
        let mut secrets = bundle.secrets.file.clone();
        if let Some(key) = bundle.vault_key(PARTNER, "oneCH") {
            secrets[format!("{KEYS}{PARTNER}/oneCH")] = key;
        }
        Self { outputs, secrets }
    }

    /// A region of AWS, as far as the operator looks.
    async fn region(self) -> String {
        serve(Router::new().fallback(answer).with_state(Arc::new(self))).await
    }

    /// As the [reference](https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html)
    /// has it.
    fn describe_stacks(&self, body: &str) -> Response {
        let asked: Vec<&str> = body.split('&').collect();
        assert!(asked.contains(&"Action=DescribeStacks"), "{body}");
        let is_ours = asked.contains(&&*format!("StackName={STACK}"));
        let (status, xml) = if is_ours {
            let outputs: String = self.outputs.iter().map(|(key, value)| {
                format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
            }).collect();
            let stack = format!(
                "<StackName>{STACK}</StackName><CreationTime>2026-04-09T13:09:08.000Z</CreationTime>\
                 <StackStatus>UPDATE_COMPLETE</StackStatus><Outputs>{outputs}</Outputs>"
            );
            let result = format!(
                "<DescribeStacksResult><Stacks><member>{stack}</member></Stacks></DescribeStacksResult>"
            );
            let xml = format!(
                "<DescribeStacksResponse xmlns=\"{NAMESPACE}\">{result}</DescribeStacksResponse>"
            );
            (StatusCode::OK, xml)
        } else {
            let error = "<Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id other does not exist</Message>";
            let xml = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error>{error}</Error></ErrorResponse>"
            );
            (StatusCode::BAD_REQUEST, xml)
        };
        (status, [("content-type", "text/xml")], xml).into_response()
    }

    fn secret(&self, body: &str) -> Response {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let name = text(&asked["SecretId"]);
        let (status, body) = match self.secrets.get(name.strip_prefix(PREFIX).unwrap_or(name)) {
            Some(secret) => {
                let secret = secret.to_string();
                let body = json!({"Name": name, "VersionId": "1", "SecretString": secret});
                (StatusCode::OK, body)
            }
            None => {
                let body = json!({"__type": "ResourceNotFoundException", "Message": "needle"});
                (StatusCode::BAD_REQUEST, body)
            }
        };
        let json = [("content-type", "application/x-amz-json-1.1")];
        (status, json, body.to_string()).into_response()
    }
}

async fn answer(State(account): State<Arc<Account>>, headers: HeaderMap, body: String) -> Response {
    let target = headers.get("x-amz-target").map(|target| target.as_bytes());
    match target {
        None => account.describe_stacks(&body),
        Some(b"secretsmanager.GetSecretValue") => account.secret(&body),
        Some(_) => panic!("{target:?}"),
    }
}

/// The program `operator` with these arguments, against the region at `endpoint`: how it ended, and what it
/// said on standard output and standard error; nothing of it secret.
async fn operator(bundle: &Bundle, endpoint: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let table = std::fs::read_to_string(bundle.data().join("endpoint")).expect("the endpoint");
    let mut program = Command::new(tests::programs::program("operator-for-tests"));
    program.args(arguments);
    program.env_clear().envs([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ENDPOINT_URL_DYNAMODB", table.trim()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "needle-aws"),
    ]);
    let ended = program.kill_on_drop(true).output().await.expect("it ends");
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).expect("text");
    assert!(!said.contains("needle"), "{said}");
    (ended.status.code(), said)
}

#[tokio::test]
async fn a_stack_is_connected_and_disconnected_by_its_outputs() {
    let bundle = unconnected().await;
    set_addresses(&bundle, PARTNER, FOREIGN, "").await;
    let endpoint = Account::with(&bundle).region().await;

    let (code, said) = operator(&bundle, &endpoint, &CONNECT).await;
    assert_eq!(code, Some(1));
    let start = format!("stack {STACK} in eu-central-1 at {}", bundle.url);
    assert!(said.starts_with(&start), "{said}");
    says(
        &said,
        &["TROUBLE        the webhook URL is somebody else's"],
    );
    is_connected(&bundle, PAYING_PARTNER).await;

    let replace = [&CONNECT as &[&str], &["--replace", "--partner", PARTNER]].concat();
    let (code, said) = operator(&bundle, &endpoint, &replace).await;
    assert_eq!(code, Some(0), "{said}");
    is_connected(&bundle, PARTNER).await;
    let kept = format!("CONNECT#{PARTNER}");
    assert!(bundle.items().await.iter().any(|item| pk(item) == kept));

    let remove = [&CONNECT as &[&str], &["--remove"]].concat();
    let (code, said) = operator(&bundle, &endpoint, &remove).await;
    assert_eq!(code, Some(0), "{said}");
    let before = (json!(FOREIGN), Value::Null);
    assert_eq!(addresses(&bundle, PARTNER).await, before);
    assert_eq!(addresses(&bundle, PAYING_PARTNER).await, NONE);
}

#[tokio::test]
async fn why_and_key_say_of_a_stack_what_they_say_of_a_data_directory() {
    let bundle = super::super::start().await;
    bundle.grant("acme", "oneCH").await;
    bundle.complete_story(PARTNER, "acme", "oneCH").await;
    bundle.scan_when_quiet().await;
    let endpoint = Account::with(&bundle).region().await;
    let data = bundle.data().display().to_string();
    let environment = Environment::default().with_default("DATA", data);
    let instance = Instance::from_data(&environment).await.expect("the data");
    let number = channel_ref(PARTNER, "oneCH");

    let (code, story) = operator(&bundle, &endpoint, &one("why", "oneCH")).await;
    assert_eq!(code, Some(0), "{story}");
    assert_eq!(story, instance.why(&number).await.expect("a story"));
    let (code, key) = operator(&bundle, &endpoint, &one("key", "oneCH")).await;
    assert_eq!(code, Some(0), "{key}");
    let stored = instance.key(&number).await.expect("a key");
    assert_eq!(key.trim_end(), stored.expose());

    for (verb, words) in [
        ("why", "check both ids, and --stack"),
        ("key", "has no stored key"),
    ] {
        let (code, said) = operator(&bundle, &endpoint, &one(verb, "otherCH")).await;
        assert_eq!(code, Some(1), "{verb}");
        says(&said, &[words]);
    }
}

/// The arguments of a verb about one channel.
fn one<'a>(verb: &'a str, number: &'a str) -> [&'a str; 5] {
    [verb, PARTNER, number, "--stack", STACK]
}

#[tokio::test]
async fn what_is_wrong_with_stack_secret_or_table_is_one_sentence_and_ends_with_1() {
    let bundle = unconnected().await;
    let mut without_secret = Account::with(&bundle);
    let secrets = without_secret.secrets.as_object_mut().expect("an object");
    secrets.remove(PARTNER);
    let mut elsewhere = Account::with(&bundle);
    elsewhere.outputs.retain(|(key, _)| *key != "TableName");
    elsewhere.outputs.push(("TableName", "absent".to_owned()));
    let endpoint = without_secret.region().await;
    let elsewhere = elsewhere.region().await;
    let absent = format!("the secret {PREFIX}{PARTNER} in Secrets Manager is missing: create it");
    for (endpoint, arguments, words) in [
        (&endpoint, &CONNECT as &[&str], absent.as_str()),
        (
            &endpoint,
            &["connect", "--stack", "other"],
            "there is no stack other in eu-central-1",
        ),
        (
            &elsewhere,
            &CONNECT,
            "the bundle's table cannot be read or written (DynamoDB: ResourceNotFoundException): your AWS",
        ),
    ] {
        let (code, said) = operator(&bundle, endpoint, arguments).await;
        assert_eq!(code, Some(1), "{arguments:?}");
        says(&said, &[words]);
    }
    assert_eq!(addresses(&bundle, PARTNER).await, NONE);
}
