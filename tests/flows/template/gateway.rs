//! The gateway: which function answers a route, who may ask, what pages may read, and what is logged of it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Ask, Bundle, PARTNER};

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

const ROUTES: [(&str, &str, Who); 7] = [
    ("GET /{partner_id}/sign", "sign", Who::Caller),
    ("GET /{partner_id}/redirect", "redirect", Who::Anyone),
    (
        "GET /{partner_id}/redirect/{state}",
        "redirect",
        Who::Anyone,
    ),
    ("POST /{partner_id}/redirect", "redirect", Who::Caller),
    ("POST /{partner_id}/webhook", "webhook", Who::Anyone),
    ("GET /{partner_id}/channels", "channels", Who::Caller),
    (
        "GET /{partner_id}/channels/{channel_id}",
        "channels",
        Who::Caller,
    ),
];

/// What the access log may say of a request: nothing an outsider chose.
const LOGGED: [&str; 10] = [
    "requestTime",
    "requestId",
    "routeKey",
    "status",
    "responseLatency",
    "integrationLatency",
    "integrationStatus",
    "integrationErrorMessage",
    "error.message",
    "authorizer.error",
];

/// I2
#[test]
fn every_route_of_callers_has_an_authorizer_however_callers_are_known() {
    holds(
        authorizers,
        &[
            ("GET /{partner_id}/sign", |it| {
                drop(method(it, "/{partner_id}/sign", "get").remove("security"))
            }),
            ("GET /{partner_id}/sign", |it| {
                method(it, "/{partner_id}/sign", "get")["security"] = json!([])
            }),
            ("GET /{partner_id}/channels", |it| {
                method(it, "/{partner_id}/channels", "get")["security"]["Fn::If"][2] = json!([]);
            }),
            ("POST /{partner_id}/redirect", |it| {
                method(it, "/{partner_id}/redirect", "post")["security"]["Fn::If"][1] =
                    json!([{"tokn": []}]);
            }),
            ("POST /{partner_id}/webhook", |it| {
                method(it, "/{partner_id}/webhook", "post")
                    .insert("security".into(), json!([{"token": []}]));
            }),
            ("identitySource", |it| {
                let scheme = &mut body(it)["components"]["securitySchemes"]["Fn::If"][1]["token"];
                scheme["x-amazon-apigateway-authorizer"]["identitySource"] =
                    json!("$request.querystring.token");
            }),
            ("ANY /{partner_id}/more", |it| {
                let route = body(it)["paths"]["/{partner_id}/channels"]["get"].clone();
                body(it)["paths"]["/{partner_id}/more"]["x-amazon-apigateway-any-method"] = route;
            }),
        ],
    );
}

#[test]
fn every_route_leads_to_its_function_which_this_api_alone_may_call() {
    holds(
        integrations,
        &[
            ("GET /{partner_id}/channels", |it| {
                method(it, "/{partner_id}/channels", "get").clear()
            }),
            ("GET /{partner_id}/sign", |it| {
                method(it, "/{partner_id}/sign", "get")["x-amazon-apigateway-integration"]["payloadFormatVersion"] =
                    json!("1.0");
            }),
            ("SignFunction", |it| {
                drop(resources(it).remove("SignPermission"))
            }),
            ("WebhookFunction", |it| {
                drop(resources(it)["WebhookPermission"]["Properties"]["SourceArn"].take())
            }),
            ("limits", |it| {
                let stage = &mut resources(it)["HttpApiApiGatewayDefaultStage"]["Properties"];
                stage["RouteSettings"]["GET /{partner}/sign"] = json!({"ThrottlingRateLimit": 1});
            }),
        ],
    );
}

#[test]
fn the_access_log_says_nothing_that_an_outsider_chose() {
    holds(
        access_log,
        &[("$context.path", |it| {
            let stage = &mut resources(it)["HttpApiApiGatewayDefaultStage"]["Properties"];
            stage["AccessLogSettings"]["Format"] = json!(r#"{"path":"$context.path"}"#);
        })],
    );
}

#[tokio::test]
async fn pages_may_read_what_the_bundle_lets_them_read() {
    let said = cors_of_the_bundle().await;
    let template = Template::here();
    let cors =
        |it: &Deployment| it.properties("HttpApi")["Body"]["x-amazon-apigateway-cors"].clone();
    let [deployed, ..] = super::choices().map(|choice| template.deployed(&choice));
    assert_eq!(lower(&cors(&deployed)), lower(&said));
    for (name, value) in [
        ("maxAge", json!(60)),
        ("allowOrigins", json!(["*"])),
        ("allowCredentials", json!(true)),
    ] {
        let doctored = template.doctored(|it| body(it)["x-amazon-apigateway-cors"][name] = value);
        assert_ne!(
            lower(&cors(&doctored.deployed(&super::everything()))),
            lower(&said),
            "{name}"
        );
    }
}

fn authorizers(deployed: &Deployment) -> Vec<String> {
    let schemes = &deployed.properties("HttpApi")["Body"]["components"]["securitySchemes"];
    let mut faults: Vec<String> = entries(schemes)
        .filter_map(|(_, scheme)| fault_of_scheme(scheme))
        .collect();
    for (route, method) in routes(deployed) {
        let Some((.., who)) = ROUTES.iter().find(|(known, ..)| *known == route) else {
            faults.push(format!("{route} is none of ours"));
            continue;
        };
        let security = list(&method["security"]);
        let is_checked = match security {
            [one] => {
                entries(one).count() == 1
                    && entries(one).all(|(name, _)| schemes.get(name).is_some())
            }
            _ => false,
        };
        let is_right = match who {
            Who::Caller => is_checked,
            Who::Anyone => security.is_empty(),
        };
        if !is_right {
            faults.push(format!("{route} is for {who:?}: {security:?}"));
        }
    }
    faults
}

/// A scheme must be one that the gateway carries out; it passes over others without a word.
fn fault_of_scheme(scheme: &Value) -> Option<String> {
    let token = json!({
        "type": "oauth2",
        "flows": {},
        "x-amazon-apigateway-authorizer": {
            "type": "jwt",
            "identitySource": "$request.header.Authorization",
            "jwtConfiguration": {"issuer": "https://idp.example/", "audience": ["app", "phone"]},
        },
    });
    let iam = json!({
        "type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4",
    });
    (*scheme != token && *scheme != iam).then(|| format!("no authorizer: {scheme}"))
}

fn integrations(deployed: &Deployment) -> Vec<String> {
    let routes = routes(deployed);
    let mut faults = Vec::new();
    for (route, function, _) in ROUTES {
        let function = logical_id(function);
        let integration =
            &routes.get(route).copied().unwrap_or(&Value::Null)["x-amazon-apigateway-integration"];
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
        if !deployed
            .of_type("AWS::Lambda::Permission")
            .any(|(_, it)| *it == permission)
        {
            faults.push(format!("the API may not call {function}"));
        }
    }
    let stage = deployed.properties("HttpApiApiGatewayDefaultStage");
    let limited = entries(&stage["RouteSettings"]).map(|(route, _)| route);
    faults.extend(
        limited
            .filter(|route| !routes.contains_key(*route))
            .map(|it| format!("limits of no route: {it}")),
    );
    let everybody_else = deployed
        .of_type("AWS::Lambda::Permission")
        .filter(|(_, it)| it["SourceArn"].is_null());
    faults.extend(everybody_else.map(|(name, _)| format!("{name} lets others in")));
    faults
}

fn access_log(deployed: &Deployment) -> Vec<String> {
    let format =
        &deployed.properties("HttpApiApiGatewayDefaultStage")["AccessLogSettings"]["Format"];
    let format = format.as_str().unwrap_or_default();
    let Ok(line) = serde_json::from_str::<Value>(format) else {
        return vec![format!("no JSON: {format}")];
    };
    let values: BTreeSet<String> = entries(&line).flat_map(|(_, value)| texts(value)).collect();
    let allowed: BTreeSet<String> = LOGGED
        .iter()
        .map(|name| format!("$context.{name}"))
        .collect();
    values.symmetric_difference(&allowed).cloned().collect()
}

/// The operations of the API by route.
fn routes(deployed: &Deployment) -> BTreeMap<String, &Value> {
    let paths = entries(&deployed.properties("HttpApi")["Body"]["paths"]);
    let operations = paths.flat_map(|(path, item)| {
        let methods = entries(item).filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, operation)| {
            let method = if method == "x-amazon-apigateway-any-method" {
                "ANY".into()
            } else {
                method.to_uppercase()
            };
            (format!("{method} {path}"), operation)
        })
    });
    operations.collect()
}

/// What a listed page is told by the bundle, in the words of the gateway.
async fn cors_of_the_bundle() -> Value {
    let [_, (_, origins)] = super::REQUIRED;
    let bundle = Bundle::start_with(&[("ALLOWED_ORIGINS", origins)]).await;
    let mut listed = Vec::new();
    for origin in origins.split(',').chain(["https://c.example"]) {
        let answer = cors(&bundle, Method::OPTIONS, origin).await;
        if answer.header("access-control-allow-origin") == origin {
            listed.push(origin);
        }
    }
    let preflight = cors(&bundle, Method::OPTIONS, listed[0]).await;
    let answer = cors(&bundle, Method::GET, listed[0]).await;
    let items = |answer: &Answer, name| -> Value {
        let items = answer.header(name).split(',');
        items.map(|it| json!(it)).collect()
    };
    json!({
        "allowOrigins": listed,
        "allowMethods": items(&preflight, "access-control-allow-methods"),
        "allowHeaders": items(&preflight, "access-control-allow-headers"),
        "exposeHeaders": items(&answer, "access-control-expose-headers"),
        "maxAge": preflight.header("access-control-max-age").parse::<u32>().expect("seconds"),
        "allowCredentials": preflight.header("access-control-allow-credentials") == "true",
    })
}

async fn cors(bundle: &Bundle, method: Method, origin: &str) -> Answer {
    let request = bundle.request(method, &format!("/{PARTNER}/sign"));
    request.header("origin", origin).ask().await
}

/// Names of headers are the same in any case.
fn lower(value: &Value) -> Value {
    serde_json::from_str(&value.to_string().to_lowercase()).expect("JSON")
}

fn resources(template: &mut Value) -> &mut serde_json::Map<String, Value> {
    template["Resources"].as_object_mut().expect("resources")
}

fn body(template: &mut Value) -> &mut Value {
    &mut resources(template)["HttpApi"]["Properties"]["Body"]
}

fn method<'a>(
    template: &'a mut Value,
    path: &str,
    method: &str,
) -> &'a mut serde_json::Map<String, Value> {
    body(template)["paths"][path][method]
        .as_object_mut()
        .expect("a method")
}
