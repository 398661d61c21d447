//! Hands calls on to DynamoDB Local and moto, and answers in their place when a call is to go wrong.

use std::future::IntoFuture;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use serde_json::Value;
use store::table::{PK, SK};
use tokio::net::TcpListener;

use super::calls::{Call, Calls, Harm, Service};
use super::empty_maps::mended;
use super::moto::ACCOUNT;
use super::process::Processes;
use crate::time::{Key, Where, dynamodb};

/// How long a lease outlives its holder.
const MOMENT: Duration = Duration::from_secs(1);

/// The largest call, bytes: DynamoDB takes 16 MB.
const LARGEST: usize = 16 << 20;

/// Where AWS's services are, and as whom they are asked: nobody else's data is seen there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// DynamoDB Local.
    pub(super) dynamodb: String,
    /// The access key id that DynamoDB Local keeps this test's tables under.
    pub(super) database: String,
    /// Moto.
    pub(super) moto: String,
    /// The account at moto.
    pub(super) account: String,
}

#[derive(Clone)]
struct Forward {
    place: Place,
    processes: Processes,
    recorder: Calls,
    http: Client,
    /// The harness's own way to the table.
    table: aws_sdk_dynamodb::Client,
}

/// Answers at `listener`.
pub(super) fn serve(listener: TcpListener, place: Place, processes: Processes, recorder: Calls) {
    let http = Client::builder().no_proxy().build().expect("a client");
    let router = Router::new().fallback(answer).with_state(Forward {
        place,
        processes,
        table: dynamodb(&recorder.url),
        recorder,
        http,
    });
    tokio::spawn(axum::serve(listener, router).into_future());
}

async fn answer(State(forward): State<Forward>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let Some((call, service)) = call(&parts.headers) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !forward.recorder.allows(&call, &body) {
        return refusal(StatusCode::BAD_REQUEST, "AccessDeniedException");
    }
    let (process, action) = (call.process.clone(), call.action.clone());
    forward.watch_holder(&call, &body);
    let harm = forward.recorder.record(call, &body);
    match harm {
        None => forward.hand_on(service, &action, parts.headers, body).await,
        Some(Harm::Throttle) => throttled(service),
        Some(Harm::Fail) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        Some(Harm::Silence) => silence().await,
        Some(Harm::LoseAnswer) => {
            forward.hand_on(service, &action, parts.headers, body).await;
            silence().await
        }
        Some(Harm::Hold) => {
            forward.recorder.until_healed().await;
            forward.hand_on(service, &action, parts.headers, body).await
        }
        Some(Harm::KillBefore) => forward.kill(&process).await,
        Some(Harm::KillAfter) => {
            forward.hand_on(service, &action, parts.headers, body).await;
            forward.kill(&process).await
        }
    }
}

impl Forward {
    /// Makes the call in the function's place.
    async fn hand_on(
        &self,
        service: Service,
        action: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        if let Some(rows) = self.recorder.lag.answer(action, &body) {
            let kind = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
            return (kind, rows.to_string()).into_response();
        }
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let url = if let Service::DynamoDb | Service::Streams = service {
            let authorization = as_key(&headers, &self.place.database);
            headers.insert(AUTHORIZATION, authorization);
            &self.place.dynamodb
        } else {
            let account = HeaderValue::from_str(&self.place.account);
            headers.insert(ACCOUNT, account.expect("digits"));
            &self.place.moto
        };
        if service == Service::EventBridge {
            self.recorder.record_events(&body);
        }
        let Ok(answer) = self
            .http
            .post(url)
            .headers(headers)
            .body(body.clone())
            .send()
            .await
        else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        if answer.status().is_success() {
            self.recorder.lag.see(action, &body);
        }
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let Ok(mut body) = answer.bytes().await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        if service == Service::Streams
            && let Some(mended) = mended(&body)
        {
            headers.remove("x-amz-crc32");
            body = mended.into();
        }
        (status, headers, body).into_response()
    }

    /// A lease that is asked for here runs out a moment after the invocation that asked is over, if that has not given
    /// it back, and not after 20 s or 50 s; due work that is taken here is due again then, and not after a minute. The
    /// moment is long enough for others to find it held.
    fn watch_holder(&self, call: &Call, body: &[u8]) {
        let Some(held) = held(call, body) else {
            return;
        };
        let client = self.table.clone();
        if let Some(process) = self.processes.named(&call.process) {
            let clock = self.recorder.clock.clone();
            tokio::spawn(async move {
                process.answer_or_end().await;
                tokio::time::sleep(MOMENT).await;
                let (table, key) = (held.table, held.key);
                let table = Where { client, table };
                let has_ended = match held.as_what {
                    Held::Lease(token) => table.end_lease(key, &token).await,
                    Held::DueWork(token) => table.end_put_off(key, &token).await,
                };
                if has_ended {
                    clock.ring();
                }
            });
        }
    }

    /// Kills the process that waits for this answer, which nobody will read.
    async fn kill(&self, process: &str) -> Response {
        if let Some(process) = self.processes.named(process) {
            process.kill().await;
        }
        silence().await
    }
}

/// An item that an invocation holds.
struct HeldItem {
    table: String,
    key: Key,
    as_what: Held,
}

/// What somebody holds, and the token under which.
enum Held {
    Lease(AttributeValue),
    DueWork(AttributeValue),
}

/// The lease or the due work that is asked for, if that is what a call does.
fn held(call: &Call, body: &[u8]) -> Option<HeldItem> {
    if call.action != "UpdateItem" {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let update = body["UpdateExpression"].as_str()?;
    let text = |value: &Value| Some(AttributeValue::S(value["S"].as_str()?.to_owned()));
    let value = |name: &str| text(&body["ExpressionAttributeValues"][name]);
    let as_what = if update.contains("lease = :token") {
        Held::Lease(value(":token")?)
    } else if update.contains("taken = :taken") {
        Held::DueWork(value(":taken")?)
    } else {
        return None;
    };
    let part = |name: &str| Some((name.to_owned(), text(&body["Key"][name])?));
    Some(HeldItem {
        table: body["TableName"].as_str()?.to_owned(),
        key: Key::from([part(PK)?, part(SK)?]),
        as_what,
    })
}

/// Who asks for what.
fn call(headers: &HeaderMap) -> Option<(Call, Service)> {
    let (service, action) = match headers.get("x-amz-target") {
        Some(target) => Service::of_target(target.to_str().ok()?)?,
        None => (Service::CloudFormation, ""),
    };
    let process = key_id(headers)?.to_owned();
    let call = Call {
        function: Processes::function_of(&process).to_owned(),
        process,
        service,
        action: action.to_owned(),
    };
    Some((call, service))
}

/// The access key id in `Credential=ID/date/region/service/aws4_request`.
fn key_id(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    authorization.split_once("Credential=")?.1.split('/').next()
}

/// The same header with another access key id; DynamoDB Local checks no signature.
fn as_key(headers: &HeaderMap, id: &str) -> HeaderValue {
    let authorization = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let authorization = authorization.unwrap_or_default();
    let (before, behind) = authorization.split_once("Credential=").unwrap_or_default();
    let (_, behind) = behind.split_once('/').unwrap_or_default();
    HeaderValue::from_str(&format!("{before}Credential={id}/{behind}")).expect("a header")
}

/// Nothing, until the other side gives up.
async fn silence() -> Response {
    std::future::pending().await
}

fn throttled(service: Service) -> Response {
    let kind = match service {
        Service::DynamoDb | Service::Streams => {
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
        }
        _ => "ThrottlingException",
    };
    refusal(StatusCode::BAD_REQUEST, kind)
}

fn refusal(status: StatusCode, kind: &str) -> Response {
    let body = serde_json::json!({"__type": kind, "message": "as a test wants it"}).to_string();
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response()
}
