//! What the harness itself wants of Secrets Manager, KMS, EventBridge and CloudFormation, asked of moto directly.
//!
//! Moto keeps the accounts apart that the header `x-moto-account-id` names, so that tests which share one server do
//! not see each other. The calls wait on the spot: moto is another process and depends on nothing here.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use data_encoding::BASE64;
use reqwest::Url;
use serde_json::{Value, json};

use super::runtime_api::REGION;
use crate::text;

/// The header that names an account.
pub const ACCOUNT: &str = "x-moto-account-id";

/// One account at moto.
#[derive(Clone, Debug)]
pub struct Moto {
    address: String,
    account: String,
}

impl Moto {
    /// The account `account`, twelve digits, at the server `url`.
    pub fn new(url: &str, account: &str) -> Self {
        Self {
            address: url.trim_start_matches("http://").to_owned(),
            account: account.to_owned(),
        }
    }

    /// Makes an event bus.
    pub fn create_bus(&self, name: &str) {
        self.call("events", "AWSEvents.CreateEventBus", &json!({"Name": name}))
            .expect("an event bus");
    }

    /// Makes a KMS key; its ARN.
    pub fn create_key(&self) -> String {
        let made = self.call("kms", "TrentService.CreateKey", &json!({}));
        text(&made.expect("a key")["KeyMetadata"]["Arn"]).to_owned()
    }

    /// Opens what a KMS key has sealed with `context`; the error is that of KMS.
    pub fn open(&self, sealed: &[u8], context: &Value) -> Result<Vec<u8>, Value> {
        let decrypt =
            json!({"CiphertextBlob": BASE64.encode(sealed), "EncryptionContext": context});
        let opened = self.call("kms", "TrentService.Decrypt", &decrypt)?;
        let text = BASE64.decode(text(&opened["Plaintext"]).as_bytes());
        Ok(text.expect("base64"))
    }

    /// Makes a CloudFormation stack that has nothing but these outputs.
    pub fn create_stack(&self, name: &str, outputs: &BTreeMap<String, String>) {
        let outputs = outputs.iter();
        let outputs: Value = outputs
            .map(|(name, value)| (name.clone(), json!({"Value": value})))
            .collect();
        let template = json!({"Resources": {}, "Outputs": outputs}).to_string();
        let parameters = [
            ("Action", "CreateStack"),
            ("StackName", name),
            ("TemplateBody", &template),
        ];
        let address = Url::parse_with_params("http://moto/", parameters).expect("an address");
        let query = address.query().expect("a query");
        self.post("cloudformation", &format!("/?{query}"), "", "")
            .expect("a stack");
    }

    /// Makes the current version of the secret `name` say `text`.
    pub fn put_secret(&self, name: &str, text: &str) {
        let put = json!({"SecretId": name, "SecretString": text});
        if self.secret("PutSecretValue", &put).is_err() {
            let create = json!({"Name": name, "SecretString": text});
            self.secret("CreateSecret", &create).expect("a secret");
        }
    }

    /// The current version of a secret, if there is one.
    pub fn current(&self, name: &str) -> Option<String> {
        self.version(json!({"SecretId": name, "VersionStage": "AWSCURRENT"}))
    }

    /// Every version of every secret: name → version id → text.
    pub fn everything(&self) -> Value {
        let mut all = json!({});
        let list = self.secret("ListSecrets", &json!({"MaxResults": 100}));
        let list = list.expect("a list");
        for secret in list["SecretList"].as_array().into_iter().flatten() {
            let name = text(&secret["Name"]);
            let versions = secret["SecretVersionsToStages"].as_object();
            for (id, stages) in versions.into_iter().flatten() {
                let text = self.version(json!({"SecretId": name, "VersionId": id}));
                all[name][id] = json!({"stages": stages, "text": text});
            }
        }
        all
    }

    fn version(&self, which: Value) -> Option<String> {
        let got = self.secret("GetSecretValue", &which).ok()?;
        Some(got["SecretString"].as_str()?.to_owned())
    }

    fn secret(&self, action: &str, body: &Value) -> Result<Value, Value> {
        self.call("secretsmanager", &format!("secretsmanager.{action}"), body)
    }

    fn call(&self, service: &str, target: &str, body: &Value) -> Result<Value, Value> {
        let head =
            format!("x-amz-target: {target}\r\ncontent-type: application/x-amz-json-1.1\r\n");
        self.post(service, "/", &head, &body.to_string())
    }

    fn post(&self, service: &str, path: &str, head: &str, body: &str) -> Result<Value, Value> {
        let request = format!(
            "POST {path} HTTP/1.0\r\nhost: {}\r\n{ACCOUNT}: {}\r\n{head}content-length: {}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=tests/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            self.address,
            self.account,
            body.len(),
        );
        let mut answer = String::new();
        let mut stream = TcpStream::connect(&self.address).expect("moto answers");
        stream.write_all(request.as_bytes()).expect("moto listens");
        stream.read_to_string(&mut answer).expect("moto answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        if head.split(' ').nth(1) == Some("200") {
            Ok(body)
        } else {
            Err(body)
        }
    }
}
