//! The gateway: which function answers a route, who may ask, what pages may read, and what is logged of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Answer, Ask, Bundle, PARTNER};

use self::Who::{Anyone, Caller};
use super::evaluate::Deployment;
use super::{Template, entries, holds, list, logical_id, texts};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Somebody whom the gateway's authorizer knows.
    Caller,
    /// Anybody: the function itself checks a state or a signature.
    Anyone,
}

/// Each route: who may call it, the function, and the route itself.
const ROUTES: [(Who, &str, &str); 7] = [
    (Caller, "sign", "GET /{partner_id}/sign"),
    (Anyone, "redirect", "GET /{partner_id}/redirect"),
    (Anyone, "redirect", "GET /{partner_id}/redirect/{state}"),
    (Caller, "redirect", "POST /{partner_id}/redirect"),
    (Anyone, "webhook", "POST /{partner_id}/webhook"),
    (Caller, "channels", "GET /{partner_id}/channels"),
    (
        Caller,
        "channels",
        "GET /{partner_id}/channels/{channel_id}",
    ),
];

/// What the access log may say of a request: nothing an outsider chose.
const LOGGED: &str = "requestTime requestId routeKey status responseLatency integrationLatency \
                      integrationStatus integrationErrorMessage error.message authorizer.error";

/// I2
#[test]
fn every_route_of_callers_has_an_authorizer_however_callers_are_known() {
    holds(
        authorizers,
        &[
            "HttpApi/Properties/Body/paths/~1{partner_id}~1sign/get/security = null → GET /{partner_id}/sign",
            "HttpApi/Properties/Body/paths/~1{partner_id}~1channels/get/security/Fn::If/2 = [] → GET /{partner_id}/channels",
            r#"HttpApi/Properties/Body/paths/~1{partner_id}~1webhook/post/security = [{"token": []}] → POST /{partner_id}/webhook"#,
            r#"HttpApi/Properties/Body/components/securitySchemes/Fn::If/1/token/type = "http" → no authorizer"#,
            "HttpApi/Properties/Body/paths/~1{partner_id}~1sign/x-amazon-apigateway-any-method = {} → ANY /{partner_id}/sign",
        ],
    );
}

#[test]
fn every_route_leads_to_its_function_which_this_api_alone_may_call() {
    holds(
        integrations,
        &[
            "HttpApi/Properties/Body/paths/~1{partner_id}~1channels/get/x-amazon-apigateway-integration = null → GET /{partner_id}/channels",
            "SignPermission = null → SignFunction",
            "WebhookPermission/Properties/SourceArn = null → lets others in",
            r#"HttpApiApiGatewayDefaultStage/Properties/RouteSettings/GET ~1{partner}~1sign = {"ThrottlingRateLimit": 1} → limits"#,
        ],
    );
}

#[test]
fn the_access_log_says_nothing_that_an_outsider_chose() {
    holds(
        access_log,
        &[
            r#"HttpApiApiGatewayDefaultStage/Properties/AccessLogSettings/Format = "{\"path\":\"$context.path\"}" → $context.path"#,
        ],
    );
}

#[tokio::test]
async fn pages_may_read_what_the_bundle_lets_them_read() {
    let template = Template::here();
    let said = lower(&cors_of_the_bundle().await);
    let is_said = |template: &Template| {
        let deployed = template.deployed(&super::everything());
        let cors = &deployed.properties("HttpApi")["Body"]["x-amazon-apigateway-cors"];
        lower(cors) == said
    };
    assert!(is_said(&template), "{said}");
    let origins = "/Resources/HttpApi/Properties/Body/x-amazon-apigateway-cors/allowOrigins";
    assert!(!is_said(&template.doctored(origins, &json!(["*"]))));
}

fn authorizers(deployed: &Deployment) -> Vec<String> {
    let schemes = &deployed.properties("HttpApi")["Body"]["components"]["securitySchemes"];
    let mut faults: Vec<String> = entries(schemes)
        .filter_map(|(_, scheme)| fault_of_scheme(scheme))
        .collect();
    for (route, method) in routes(deployed) {
        let Some((who, ..)) = ROUTES.iter().find(|(.., known)| *known == route) else {
            faults.push(format!("{route} is none of ours"));
            continue;
        };
        let security = list(&method["security"]);
        let names = security.iter().flat_map(entries);
        let names: Vec<&str> = names.map(|(name, _)| name).collect();
        let is_right = match (who, names.as_slice()) {
            (Caller, [name]) => security.len() == 1 && schemes.get(name).is_some(),
            (Caller, _) => false,
            (Anyone, _) => security.is_empty(),
        };
        if !is_right {
            faults.push(format!("{route} is for {who:?}: {security:?}"));
        }
    }
    faults
}

/// A scheme must be one that the gateway carries out; it passes over others without a word.
fn fault_of_scheme(scheme: &Value) -> Option<String> {
    let configuration = json!({"issuer": "https://idp.example/", "audience": ["app", "phone"]});
    let token = json!({
        "type": "oauth2",
        "flows": {},
        "x-amazon-apigateway-authorizer": {
            "type": "jwt",
            "identitySource": "$request.header.Authorization",
            "jwtConfiguration": configuration,
        },
    });
    let iam = json!({
        "type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4",
    });
    (*scheme != token && *scheme != iam).then(|| format!("no authorizer: {scheme}"))
}

fn integrations(deployed: &Deployment) -> Vec<String> {
    let routes = routes(deployed);
    let permissions: Vec<(&str, &Value)> = deployed.of_type("AWS::Lambda::Permission").collect();
    let mut faults = Vec::new();
    for (_, function, route) in ROUTES {
        let function = logical_id(function);
        let operation = routes.get(route).copied().unwrap_or(&Value::Null);
        let integration = &operation["x-amazon-apigateway-integration"];
        let uri = format!(
            "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/<{function}.Arn>/invocations"
        );
        let wanted = json!({"type": "aws_proxy", "httpMethod": "POST", "payloadFormatVersion": "2.0", "uri": uri});
        if *integration != wanted {
            faults.push(format!("{route}: {integration}"));
        }
        let permission = json!({
            "Action": "lambda:InvokeFunction",
            "FunctionName": format!("<{function}>"),
            "Principal": "apigateway.amazonaws.com",
            "SourceArn": "arn:aws:execute-api:eu-central-1:111122223333:<HttpApi>/*",
        });
        if !permissions.iter().any(|(_, it)| **it == permission) {
            faults.push(format!("the API may not call {function}"));
        }
    }
    let stage = deployed.properties("HttpApiApiGatewayDefaultStage");
    for (route, _) in entries(&stage["RouteSettings"]) {
        if !routes.contains_key(route) {
            faults.push(format!("limits of no route: {route}"));
        }
    }
    let mut everybody_else = permissions;
    everybody_else.retain(|(_, it)| it["SourceArn"].is_null());
    faults.extend(
        everybody_else
            .iter()
            .map(|(name, _)| format!("{name} lets others in")),
    );
    faults
}

fn access_log(deployed: &Deployment) -> Vec<String> {
    let stage = deployed.properties("HttpApiApiGatewayDefaultStage");
    let format = stage["AccessLogSettings"]["Format"]
        .as_str()
        .unwrap_or_default();
    let Ok(line) = serde_json::from_str::<Value>(format) else {
        return vec![format!("no JSON: {format}")];
    };
    let values: BTreeSet<String> = entries(&line).flat_map(|(_, value)| texts(value)).collect();
    let allowed = LOGGED.split_whitespace();
    let allowed = allowed.map(|name| format!("$context.{name}")).collect();
    values.symmetric_difference(&allowed).cloned().collect()
}

/// The operations of the API by route.
fn routes(deployed: &Deployment) -> BTreeMap<String, &Value> {
    let mut routes = BTreeMap::new();
    for (path, item) in entries(&deployed.properties("HttpApi")["Body"]["paths"]) {
        for (method, operation) in entries(item).filter(|(name, _)| *name != "parameters") {
            let method = method.trim_start_matches("x-amazon-apigateway-");
            let method = method.trim_end_matches("-method").to_uppercase();
            routes.insert(format!("{method} {path}"), operation);
        }
    }
    routes
}

/// What a listed page is told by the bundle, in the words of the gateway.
async fn cors_of_the_bundle() -> Value {
    let [_, (_, origins)] = super::REQUIRED;
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", origins)]).await;
    let mut listed = Vec::new();
    for origin in origins.split(',').chain(["https://c.example"]) {
        let answer = cors(&bundle, "OPTIONS", origin).await;
        if answer.header("access-control-allow-origin") == origin {
            listed.push(origin);
        }
    }
    let preflight = cors(&bundle, "OPTIONS", listed[0]).await;
    let answer = cors(&bundle, "GET", listed[0]).await;
    let items = |answer: &Answer, name| -> Value {
        let items = answer.header(name).split(',');
        items.map(|it| json!(it)).collect()
    };
    let max_age: u32 = tests::id(preflight.header("access-control-max-age"));
    json!({
        "allowOrigins": listed,
        "allowMethods": items(&preflight, "access-control-allow-methods"),
        "allowHeaders": items(&preflight, "access-control-allow-headers"),
        "exposeHeaders": items(&answer, "access-control-expose-headers"),
        "maxAge": max_age,
        "allowCredentials": preflight.header("access-control-allow-credentials") == "true",
    })
}

async fn cors(bundle: &Bundle, method: &str, origin: &str) -> Answer {
    let request = bundle.request(method, &format!("/{PARTNER}/sign"));
    request.header("origin", origin).ask().await
}

/// Names of headers are the same in any case.
fn lower(value: &Value) -> Value {
    serde_json::from_str(&value.to_string().to_lowercase()).expect("JSON")
}
