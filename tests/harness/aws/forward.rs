//! Hands calls on to DynamoDB Local and moto, and answers in their place when a call is to go wrong.

use std::future::IntoFuture;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use tokio::net::TcpListener;

use super::calls::{Call, Calls, Harm, Service};
use super::empty_maps::mended;
use super::moto::ACCOUNT;
use super::process::Processes;

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
}

/// Answers at the address that is returned.
pub(super) async fn serve(place: Place, processes: Processes, recorder: Calls) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let http = Client::builder().no_proxy().build().expect("a client");
    let router = Router::new().fallback(answer).with_state(Forward {
        place,
        processes,
        recorder,
        http,
    });
    tokio::spawn(axum::serve(listener, router).into_future());
    url
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
    let process = call.process.clone();
    let harm = forward.recorder.record(call, &body);
    match harm {
        None => forward.hand_on(service, parts.headers, body).await,
        Some(Harm::Throttle) => throttled(service),
        Some(Harm::Fail) => failed(),
        Some(Harm::Silence) => silence().await,
        Some(Harm::LoseAnswer) => {
            forward.hand_on(service, parts.headers, body).await;
            silence().await
        }
        Some(Harm::Hold) => {
            forward.recorder.until_healed().await;
            forward.hand_on(service, parts.headers, body).await
        }
        Some(Harm::KillBefore) => forward.kill(&process).await,
        Some(Harm::KillAfter) => {
            forward.hand_on(service, parts.headers, body).await;
            forward.kill(&process).await
        }
    }
}

impl Forward {
    /// Makes the call in the function's place.
    async fn hand_on(&self, service: Service, mut headers: HeaderMap, body: Bytes) -> Response {
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let url = if let Service::DynamoDb | Service::Streams = service {
            let authorization = as_key(&headers, &self.place.database);
            headers.insert(AUTHORIZATION, authorization);
            &self.place.dynamodb
        } else {
            headers.insert(
                ACCOUNT,
                HeaderValue::from_str(&self.place.account).expect("digits"),
            );
            &self.place.moto
        };
        if service == Service::EventBridge {
            self.recorder.record_events(&body);
        }
        let Ok(answer) = self.http.post(url).headers(headers).body(body).send().await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
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

    /// Kills the process that waits for this answer, which nobody will read.
    async fn kill(&self, process: &str) -> Response {
        if let Some(process) = self.processes.named(process) {
            process.kill().await;
        }
        silence().await
    }
}

/// Who asks for what.
fn call(headers: &HeaderMap) -> Option<(Call, Service)> {
    let (service, action) = Service::of_target(headers.get("x-amz-target")?.to_str().ok()?)?;
    let process = key_id(headers)?.to_owned();
    let function = Processes::function_of(&process).to_owned();
    Some((
        Call {
            process,
            function,
            service,
            action: action.to_owned(),
            was_hurt: false,
        },
        service,
    ))
}

/// The access key id in `Credential=ID/date/region/service/aws4_request`.
fn key_id(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    authorization.split_once("Credential=")?.1.split('/').next()
}

/// The same header with another access key id; DynamoDB Local checks no signature.
fn as_key(headers: &HeaderMap, id: &str) -> HeaderValue {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
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
        Service::SecretsManager | Service::EventBridge => "ThrottlingException",
    };
    refusal(StatusCode::BAD_REQUEST, kind)
}

fn failed() -> Response {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
}

fn refusal(status: StatusCode, kind: &str) -> Response {
    let body = serde_json::json!({"__type": kind, "message": "as a test wants it"}).to_string();
    (status, [(CONTENT_TYPE, "application/x-amz-json-1.0")], body).into_response()
}
