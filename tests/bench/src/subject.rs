//! What is measured: each function with its environment and the one event that it is asked again and again.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use dialog360::secret::Secret;
use dialog360::webhook::sign_webhook;
use jiff::Timestamp;
use onboarding::origin::ReturnTo;
use onboarding::session::Session;
use runtime::clock;
use serde_json::{Value, json};
use tests::aws::metrics::Metrics;
use tests::aws::runtime_api::Spec;

use crate::aws::{Aws, Endpoints, PLATFORM_SECRET};
use crate::items::{PARTNER, TENANT};

const MIB: usize = 1024 * 1024;
const PAGE: &str = "https://app.example";
const DOMAIN: &str = "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com";

/// An invocation takes milliseconds, under callgrind a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// One row of the table.
pub(crate) struct Subject {
    /// What the row is called.
    pub(crate) label: &'static str,
    /// How its program is run.
    pub(crate) spec: Spec,
    /// What it is asked.
    pub(crate) event: Value,
    /// The size of what would be uploaded.
    pub(crate) zip_bytes: u64,
    /// What a good answer holds.
    pub(crate) good: &'static str,
}

impl Subject {
    /// Whether `answer` is what the event must lead to: a refusal would be quick and worth nothing.
    pub(crate) fn is_good(&self, answer: &[u8]) -> bool {
        String::from_utf8_lossy(answer).contains(self.good)
    }

    /// The same program run by another one; `runner` is its path and arguments.
    pub(crate) fn under(&self, runner: &str, directory: &Path) -> std::io::Result<Spec> {
        let program = directory.join("runner");
        fs::write(
            &program,
            format!("#!/bin/sh\nexec {runner} {}\n", self.spec.program.display()),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        Ok(Spec {
            program,
            ..self.spec.clone()
        })
    }
}

/// Bare, and with the SDK.
const HELLOS: [&str; 2] = ["hello", "hello-sdk"];

/// Which of the programs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chosen<'a> {
    /// The hello-worlds and these, or all if none is named.
    Beside(&'a [&'a str]),
    /// All that are deployed.
    Functions,
}

impl Chosen<'_> {
    fn has(self, name: &str) -> bool {
        match self {
            Self::Beside(names) => {
                HELLOS.contains(&name) || names.is_empty() || names.contains(&name)
            }
            Self::Functions => !HELLOS.contains(&name),
        }
    }
}

/// What a row is made of: its label, the program, where that finds AWS, the event, and what a good answer holds.
type Row<'a> = (
    &'static str,
    &'static str,
    &'a Endpoints,
    Value,
    &'static str,
);

/// The hello-worlds first, then every function against AWS over TLS, then `sign` without TLS.
pub(crate) fn subjects(
    programs: &Path,
    chosen: Chosen<'_>,
    aws: &Aws,
    stream_event: &Value,
    directory: &Path,
) -> Result<Vec<Subject>, Box<dyn Error>> {
    let tls = &aws.over_tls;
    let sign = request(
        "GET",
        "/sign",
        "return_to=https%3A%2F%2Fapp.example%2Fdone",
        None,
        &[],
    );
    let rows: [Row<'_>; 9] = [
        ("hello", "hello", tls, sign.clone(), "hello"),
        ("hello, SDK", "hello-sdk", tls, sign.clone(), "hello"),
        ("sign", "sign", tls, sign.clone(), "io_signature"),
        (
            "redirect",
            "redirect",
            tls,
            redirect()?,
            "\"statusCode\":303",
        ),
        ("webhook", "webhook", tls, webhook(), "\"statusCode\":200"),
        (
            "channels",
            "channels",
            tls,
            request("GET", "/channels", "", None, &[]),
            "oneCH",
        ),
        (
            "fold",
            "fold",
            tls,
            stream_event.clone(),
            "{\"batchItemFailures\":[]}",
        ),
        // It passes the record, and so calls nobody: 360dialog's limit, and not its own speed, bounds its work.
        (
            "provision",
            "provision",
            tls,
            stream_event.clone(),
            "{\"batchItemFailures\":[]}",
        ),
        ("sign, no TLS", "sign", &aws.plain, sign, "io_signature"),
    ];
    rows.into_iter()
        .filter(|(_, name, ..)| chosen.has(name))
        .map(|row| {
            subject(row, programs, aws, directory)
                .map_err(|why| format!("{}: {why}", programs.display()).into())
        })
        .collect()
}

/// `webhook` with its largest bodies: 5 MiB of chats as text, and 4 MiB of anything in base64.
pub(crate) fn largest(
    programs: &Path,
    aws: &Aws,
    directory: &Path,
) -> Result<Vec<Subject>, Box<dyn Error>> {
    let chats = chats(5 * MIB);
    let step = |it: &u64| Some(it.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let noise = std::iter::successors(Some(7_u64), step).flat_map(u64::to_be_bytes);
    let noise: Vec<u8> = noise.take(4 * MIB).collect();
    let mut in_base64 = signed(&BASE64.encode(&noise), &noise);
    in_base64["isBase64Encoded"] = json!(true);
    let rows = [
        ("webhook, 5 MiB of chats", signed(&chats, chats.as_bytes())),
        ("webhook, 4 MiB in base64", in_base64),
    ];
    let largest = rows.into_iter().map(|(label, event)| {
        let row = (label, "webhook", &aws.over_tls, event, "\"statusCode\":200");
        subject(row, programs, aws, directory).map_err(Into::into)
    });
    largest.collect()
}

/// A `history` of about this many bytes.
fn chats(length: usize) -> String {
    let message = r#"{"from":"15550100","id":"wamid.0123456789","text":{"body":"see you tomorrow at the shop, I bring the other two"}}"#;
    let messages = vec![message; length / (message.len() + 1) - 1].join(",");
    format!(r#"{{"id":"b1","event":"history","data":{{"id":"aWABA","history":[{messages}]}}}}"#)
}

fn subject(
    row: Row<'_>,
    programs: &Path,
    aws: &Aws,
    directory: &Path,
) -> Result<Subject, std::io::Error> {
    let (label, name, endpoints, event, good) = row;
    let program = programs.join(name).join("bootstrap").canonicalize()?;
    let zip_bytes = program.with_file_name("bootstrap.zip").metadata()?.len();
    let environment = environment(endpoints, aws);
    let log = directory.join(format!("{label}.log"));
    let spec = Spec {
        name: name.to_owned(),
        program,
        environment,
        time_out: PATIENCE,
        most: 1,
        log,
        metrics: Metrics::default(),
    };
    Ok(Subject {
        label,
        spec,
        event,
        zip_bytes,
        good,
    })
}

fn environment(endpoints: &Endpoints, aws: &Aws) -> BTreeMap<String, String> {
    [
        ("TABLE_NAME", "onboarding"),
        ("BODIES_TABLE_NAME", "bodies"),
        ("PARTNER_IDS", PARTNER),
        ("ALLOWED_ORIGINS", PAGE),
        ("TENANT_CLAIM", "sub"),
        ("RUST_LOG", "info"),
        ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &endpoints.dynamodb),
        (
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            &endpoints.secrets_manager,
        ),
        ("AWS_ENDPOINT_URL_KMS", &endpoints.secrets_manager),
        ("KEY_ENCRYPTION_KEY", "a-kms-key"),
        ("SSL_CERT_FILE", &aws.root.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The hub's redirect, with a good state.
fn redirect() -> Result<Value, Box<dyn Error>> {
    let session = Session {
        partner: PARTNER.parse()?,
        tenant: TENANT.parse()?,
        second: clock::now().as_second(),
        issued_at: clock::now(),
        origin: PAGE.parse()?,
        return_to: Some(ReturnTo::parse("https://app.example/done", &PAGE.parse()?)?),
    };
    let state = session.seal(&Secret::new(PLATFORM_SECRET), "onboarding");
    let path = format!("/redirect/{}", state.as_str());
    Ok(request(
        "GET",
        &path,
        "client=aCL&channels=%5BoneCH%5D",
        None,
        &[],
    ))
}

/// A signed event of the hub about one number.
fn webhook() -> Value {
    let body = json!({
        "id": "b1", "event": "channel_running",
        "data": {"id": "oneCH", "client_id": "aCL", "status": "running", "setup_info": {"phone_number": "+4930901820"}},
    });
    let body = body.to_string();
    signed(&body, body.as_bytes())
}

/// A webhook with `body`, as the gateway writes it, and the signature of `bytes`.
fn signed(body: &str, bytes: &[u8]) -> Value {
    let signature = sign_webhook(&Secret::new(PLATFORM_SECRET), bytes);
    let header = ("x-360dialog-signature", signature.as_str());
    request("POST", "/webhook", "", Some(body), &[header])
}

/// A request as an HTTP API hands it over, payload 2.0, with the claims of a checked token.
fn request(
    method: &str,
    path: &str,
    query: &str,
    body: Option<&str>,
    headers: &[(&str, &str)],
) -> Value {
    let mut all = json!({
        "accept": "application/json,text/html",
        "accept-encoding": "gzip, deflate, br, zstd",
        "content-type": "application/json",
        "host": DOMAIN,
        "origin": PAGE,
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "x-amzn-trace-id": "Root=1-69d7a2f4-0123456789abcdef01234567",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    for (name, value) in headers {
        all[*name] = json!(value);
    }
    let path = format!("/{PARTNER}{path}");
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": all,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "authorizer": {"jwt": {"claims": {"sub": TENANT, "iss": "https://issuer.example"}, "scopes": null}},
            "domainName": DOMAIN,
            "domainPrefix": "a1b2c3d4e5",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "-"},
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "09/Apr/2026:13:09:08 +0000",
            "timeEpoch": Timestamp::UNIX_EPOCH.as_millisecond(),
        },
        "body": body,
        "isBase64Encoded": false,
    })
}
