//! Requests as an HTTP API hands them to a function, and a function's answer as the HTTP API hands it back: payload
//! [format 2.0][1].
//!
//! [1]: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use runtime::clock;
use serde_json::{Map, Value, json};

use super::runtime_api::request_id;

/// The domain of the API, which no request names by itself.
pub const DOMAIN: &str = "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com";

/// The stage of an API whose addresses name none.
pub const DEFAULT_STAGE: &str = "$default";

/// A request at the gateway.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    /// Its method.
    pub method: Method,
    /// Its path, as it came.
    pub path: String,
    /// Its query, as it came.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The route that takes it, such as `/{partner_id}/sign`.
    pub route: String,
    /// What the authorizer says: `{"jwt": …}`, `{"iam": …}` or nothing.
    pub authorizer: Option<Value>,
    /// The stage.
    pub stage: String,
}

impl Incoming {
    /// A GET of `path`, which may have a query, on the route `route`.
    pub fn get(route: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            path: path.to_owned(),
            query: query.to_owned(),
            route: route.to_owned(),
            stage: DEFAULT_STAGE.to_owned(),
            ..Self::default()
        }
    }

    /// The event.
    pub fn event(&self) -> Value {
        // The path of the event is decoded, the query is not.
        let path = percent_decoded(&self.path);
        let mut context = json!({
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": DOMAIN,
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": self.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": self.headers.get(USER_AGENT).map(text).unwrap_or_default(),
            },
            "requestId": request_id(),
            "routeKey": format!("{} {}", self.method, self.route),
            "stage": self.stage,
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": clock::now().as_millisecond(),
        });
        if let Some(authorizer) = &self.authorizer {
            context["authorizer"] = authorizer.clone();
        }
        let mut event = json!({
            "version": "2.0",
            "routeKey": context["routeKey"],
            "rawPath": path,
            "rawQueryString": self.query,
            "headers": self.joined_headers(),
            "requestContext": context,
            "isBase64Encoded": false,
        });
        self.add_optional(&mut event);
        event
    }

    fn add_optional(&self, event: &mut Value) {
        let query = self.joined_query();
        if !query.is_empty() {
            event["queryStringParameters"] = Value::Object(query);
        }
        let parameters = self.path_parameters();
        if !parameters.is_empty() {
            event["pathParameters"] = Value::Object(parameters);
        }
        if self.body.is_empty() {
            return;
        }
        let kind = self.headers.get(CONTENT_TYPE).map(text);
        let is_text = kind.is_some_and(|kind| is_text(&kind));
        match String::from_utf8(self.body.clone()) {
            Ok(body) if is_text => event["body"] = body.into(),
            _ => {
                event["body"] = BASE64.encode(&self.body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }

    /// Names in lower case, several values of one name joined by commas. Nobody here sends a cookie.
    fn joined_headers(&self) -> Map<String, Value> {
        let names = self.headers.keys();
        let joined = |name: &HeaderName| {
            let values: Vec<String> = self.headers.get_all(name).iter().map(text).collect();
            (name.as_str().to_owned(), values.join(",").into())
        };
        names.map(joined).collect()
    }

    fn joined_query(&self) -> Map<String, Value> {
        let mut joined: Map<String, Value> = Map::new();
        let url = reqwest::Url::parse(&format!("http://x/?{}", self.query));
        for (name, value) in url.expect("any query").query_pairs() {
            let value = match joined.get(&*name).and_then(Value::as_str) {
                Some(before) => format!("{before},{value}"),
                None => value.into_owned(),
            };
            joined.insert(name.into_owned(), value.into());
        }
        joined
    }

    fn path_parameters(&self) -> Map<String, Value> {
        let pairs = self.route.split('/').zip(self.path.split('/'));
        let name = |segment: &str| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        pairs
            .filter_map(|(segment, value)| Some((name(segment)?, percent_decoded(value).into())))
            .collect()
    }
}

/// What the authorizer says of a token with these claims: every claim is written as a text.
pub fn jwt(claims: &Map<String, Value>) -> Value {
    let texts = claims
        .iter()
        .map(|(name, value)| (name.clone(), words(value).into()));
    let texts: Map<String, Value> = texts.collect();
    json!({"jwt": {"claims": texts, "scopes": null}})
}

/// What the authorizer says of a caller with AWS credentials.
pub fn iam() -> Value {
    json!({"iam": {
        "accessKey": "AKIA", "accountId": "123456789012", "callerId": "AIDA", "cognitoIdentity": null,
        "principalOrgId": "o-1", "userArn": "arn:aws:iam::123456789012:user/backend", "userId": "AIDA",
    }})
}

/// A claim as the gateway writes it: lists and objects come in the form of the language it is written in.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(words).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", words(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

/// The HTTP answer in a function's answer; `None` if the gateway cannot read it.
pub fn response(answer: &Value) -> Option<Response> {
    let status = StatusCode::from_u16(u16::try_from(answer["statusCode"].as_u64()?).ok()?).ok()?;
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => BASE64.decode(text.as_bytes()).ok()?,
        _ => text.as_bytes().to_vec(),
    };
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(value.as_str()?).ok()?,
        );
    }
    Some(response)
}

/// Bodies of these types travel as they are; all others, and those without a type, in base64.
fn is_text(content_type: &str) -> bool {
    let (kind, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim().to_ascii_lowercase();
    let texts = [
        "application/json",
        "application/javascript",
        "application/xml",
    ];
    let is_text = kind.starts_with("text/") || texts.contains(&kind.as_str());
    is_text || kind.ends_with("+json") || kind.ends_with("+xml")
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn percent_decoded(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits).ok());
        rest = if byte.is_some() { &behind[2..] } else { behind };
        decoded.extend(byte.unwrap_or_else(|| vec![*first]));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
