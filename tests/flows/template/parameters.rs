//! The parameters: described, bounded, and refused where leaving one out would open a door.

use dialog360::client::{KeysPath, WebhookPath};
use onboarding::messaging::WebhookUrl;
use runtime::settings::BaseUrl;
use serde_json::{Value, json};

use super::{IAM, MORE, REQUIRED, TOKENS, Template, choice, entries, list, texts};

/// I2
#[test]
fn callers_are_tokens_with_issuer_audience_and_tenant_or_iam_and_never_nobody() {
    let template = Template::here();
    let allowed = &template.0["Parameters"]["CallerAuth"]["AllowedValues"];
    assert_eq!(*allowed, json!(["JWT", "IAM"]));
    assert_eq!(refused(&template, &[&TOKENS]), Vec::<String>::new());
    assert_eq!(refused(&template, &[&IAM]), Vec::<String>::new());
    assert_eq!(refused(&template, &[]).len(), TOKENS.len());
    for (left_out, _) in TOKENS {
        let others = TOKENS.into_iter().filter(|(name, _)| *name != left_out);
        let others: Vec<_> = others.collect();
        let why = format!("With CallerAuth JWT say {left_out}.");
        assert_eq!(refused(&template, &[&others]), [why]);
    }
}

/// A function that does not start with what a parameter allows would be found out only once it is deployed.
#[test]
fn what_a_parameter_allows_the_functions_take() {
    let template = Template::here();
    for (parameter, value) in [
        ("PartnerApiUrl", "https://hub.example/api/v2"),
        ("PartnerApiUrl", "https://hub.example:8443"),
        ("OnboardingUrl", "https://hub.example"),
        (
            "OnboardingUrl",
            "https://hub.example/app/{partner_id}/permissions",
        ),
        ("PublicUrl", "https://connect.example"),
        (
            "HubApiKeysPath",
            "/v2/partners/{partner_id}/channels/{channel_id}/api_keys",
        ),
        ("HubApiKeysPath", "/{channel_id}"),
        ("MessagingWebhookUrl", ""),
        (
            "MessagingWebhookUrl",
            "https://app.example:8443/{partner_id}/in?number={channel_id}",
        ),
        ("MessagingWebhookUrl", "https://app.example?key=x"),
        ("MessagingWebhookPath", "/v1/configs/webhook"),
    ] {
        assert!(allows(&template, parameter, value), "{parameter}: {value}");
    }
    let hosts =
        "u@host|host/{other}|{partner_id}.host|a b|host/a\\b|host/\"|host/<x>|/x||host?q|host#f";
    for parameter in ["PartnerApiUrl", "OnboardingUrl", "PublicUrl"] {
        for value in hosts.split('|').map(|host| format!("https://{host}")) {
            let is_taken = value.parse::<BaseUrl>().is_ok();
            let is_fine = is_taken || !allows(&template, parameter, &value);
            assert!(is_fine, "{parameter}: {value}");
        }
    }
    for host in hosts.split('|') {
        let value = format!("https://{host}");
        let is_taken = value.parse::<WebhookUrl>().is_ok();
        let is_fine = is_taken || !allows(&template, "MessagingWebhookUrl", &value);
        assert!(is_fine, "{value}");
    }
    for value in ["v1", "/x?q", "/x#f", "/{channel_id}", "/a b", "/a\\b"] {
        assert!(value.parse::<WebhookPath>().is_err(), "{value}");
        assert!(!allows(&template, "MessagingWebhookPath", value), "{value}");
    }
    for value in [
        "http://a.example",
        "https://a.example/",
        "https://u@a.example",
    ] {
        assert!(!allows(&template, "MessagingOrigins", value), "{value}");
    }
    let bad_paths =
        "/{x}/{channel_id}|{channel_id}|/x|/{channel_id}?q|/{channel_id}/{|/a b/{channel_id}";
    for value in bad_paths.split('|') {
        assert!(value.parse::<KeysPath>().is_err(), "{value}");
        assert!(!allows(&template, "HubApiKeysPath", value), "{value}");
    }
    for value in ["360dialog", "", "a b/", "/*/"] {
        assert!(!allows(&template, "SecretPrefix", value), "{value}");
    }
}

#[test]
fn every_parameter_says_what_it_means_and_what_it_may_be() {
    let template = Template::here();
    assert_eq!(faults(&template.0), Vec::<String>::new());
    for (parameter, part, other) in [
        ("TenantClaim", "Description", Value::Null),
        ("JwtIssuer", "AllowedPattern", Value::Null),
        ("JwtIssuer", "ConstraintDescription", Value::Null),
        ("IoTimestampWindow", "MaxValue", Value::Null),
        ("AllowedOrigins", "Default", json!("https://a.example")),
    ] {
        let pointer = format!("/Parameters/{parameter}/{part}");
        let doctored = template.doctored(&pointer, &other);
        assert_eq!(faults(&doctored.0), [parameter], "{part}");
    }
}

#[test]
fn what_connects_a_deployment_finds_its_outputs() {
    let template = Template::here();
    let choice = super::everything();
    let named = template.deployed(&choice).outputs;
    let outputs = "ApiUrl PartnerIds PartnerSecretPrefix KeyEncryptionKey PartnerApiUrl PartnerApiRate \
                   HubApiKeysPath TableName EventBusName ReadChannelKeysPolicyArn AlarmTopicArn";
    for name in outputs.split_whitespace() {
        let output = &named[name];
        let is_told = output["Value"].is_string() && output["Description"].is_string();
        assert!(is_told && output["Export"].is_null(), "{name}");
    }
    assert_eq!(
        named["ApiUrl"]["Value"],
        "https://<HttpApi>.execute-api.eu-central-1.amazonaws.com"
    );
    assert_eq!(named["PartnerIds"]["Value"], "aPA,bPA");
    let own = [choice, vec![("PublicUrl", "https://connect.example")]].concat();
    let own = template.deployed(&own).outputs;
    for (name, path) in [
        ("ApiUrl", ""),
        ("WebhookUrl", "/{partner_id}/webhook"),
        ("RedirectUrl", "/{partner_id}/redirect"),
    ] {
        let url = format!("https://connect.example{path}");
        assert_eq!(own[name]["Value"], url);
    }
}

#[test]
fn every_parameter_has_its_place_on_the_form() {
    let template = Template::here();
    let form = &template.0["Metadata"]["AWS::CloudFormation::Interface"];
    let groups = list(&form["ParameterGroups"]).iter();
    let mut placed: Vec<String> = groups.flat_map(|it| texts(&it["Parameters"])).collect();
    placed.sort();
    let names = entries(&template.0["Parameters"]).map(|(name, _)| name);
    assert_eq!(placed, names.collect::<Vec<_>>());
}

/// As CloudFormation reads the pattern, but for the dialect of regular expressions.
fn allows(template: &Template, parameter: &str, value: &str) -> bool {
    let pattern = &template.0["Parameters"][parameter]["AllowedPattern"];
    jsonschema::is_valid(&json!({"pattern": pattern}), &json!(value))
}

fn refused(template: &Template, choices: &[&[(&'static str, &'static str)]]) -> Vec<String> {
    let all = [&[MORE.as_slice()], choices].concat();
    template.deployed(&choice(&all)).refused
}

/// The parameters that lack something.
fn faults(template: &Value) -> Vec<&str> {
    let names = entries(&template["Parameters"]).filter(|(name, it)| {
        let is_bounded = match (&it["AllowedPattern"], &it["AllowedValues"]) {
            (Value::String(pattern), _) => {
                pattern.starts_with('^')
                    && pattern.ends_with('$')
                    && it["ConstraintDescription"].is_string()
            }
            (_, Value::Array(_)) => true,
            _ => it["MinValue"].is_number() && it["MaxValue"].is_number(),
        };
        let is_required = REQUIRED.iter().any(|(required, _)| required == name);
        !it["Description"].is_string() || !is_bounded || it["Default"].is_null() != is_required
    });
    names.map(|(name, _)| name).collect()
}
