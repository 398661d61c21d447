//! The parameters: described, bounded, and refused where leaving one out would open a door.

use dialog360::client::KeysPath;
use runtime::settings::BaseUrl;
use serde_json::{Value, json};

use super::{IAM, MORE, REQUIRED, TOKENS, Template, entries, repository};

/// I2
#[test]
fn callers_are_tokens_with_issuer_audience_and_tenant_or_iam_and_never_nobody() {
    let template = Template::here();
    assert_eq!(
        template.0["Parameters"]["CallerAuth"]["AllowedValues"],
        json!(["JWT", "IAM"])
    );
    assert_eq!(refused(&template, &[&TOKENS]), Vec::<String>::new());
    assert_eq!(refused(&template, &[&IAM]), Vec::<String>::new());
    assert_eq!(refused(&template, &[]).len(), TOKENS.len());
    for (left_out, _) in TOKENS {
        let others: Vec<_> = TOKENS
            .iter()
            .copied()
            .filter(|(name, _)| *name != left_out)
            .collect();
        assert_eq!(
            refused(&template, &[&others]),
            [format!("With CallerAuth JWT say {left_out}.")]
        );
    }
    let without_rules = template.doctored(|it| drop(it["Rules"].take()));
    assert!(
        refused(&without_rules, &[]).is_empty(),
        "it is the rules that refuse"
    );
}

/// A function that does not start with what a parameter allows would be found out only once it is deployed.
#[test]
fn what_a_parameter_allows_the_functions_take() {
    let template = Template::here();
    let url = |value: &str| value.parse::<BaseUrl>().map(drop);
    let path = |value: &str| value.parse::<KeysPath>().map(drop);
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
    ] {
        assert!(allows(&template, parameter, value), "{parameter}: {value}");
    }
    let hosts = [
        "u@host",
        "host/{other}",
        "{partner_id}.host",
        "a b",
        "host/a\\b",
        "host/\"",
        "host/<x>",
        "/x",
        "",
        "host?q",
        "host#f",
    ];
    for parameter in ["PartnerApiUrl", "OnboardingUrl", "PublicUrl"] {
        for value in hosts.map(|host| format!("https://{host}")) {
            assert!(
                url(&value).is_ok() || !allows(&template, parameter, &value),
                "{parameter}: {value}"
            );
        }
    }
    for value in [
        "/{x}/{channel_id}",
        "{channel_id}",
        "/x",
        "/{channel_id}?q",
        "/{channel_id}/{",
        "/a b/{channel_id}",
    ] {
        assert!(
            path(value).is_err() && !allows(&template, "HubApiKeysPath", value),
            "{value}"
        );
    }
    for value in ["360dialog", "", "a b/", "/*/"] {
        assert!(!allows(&template, "SecretPrefix", value), "{value}");
    }
}

#[test]
fn every_parameter_says_what_it_means_and_what_it_may_be() {
    let template = Template::here();
    assert_eq!(faults(&template.0), Vec::<String>::new());
    for (parameter, part) in [
        ("TenantClaim", "Description"),
        ("JwtIssuer", "AllowedPattern"),
        ("JwtIssuer", "ConstraintDescription"),
        ("LogLevel", "AllowedValues"),
        ("IoTimestampWindow", "MaxValue"),
    ] {
        let doctored = template.doctored(|it| {
            it["Parameters"][parameter]
                .as_object_mut()
                .expect("a parameter")
                .remove(part);
        });
        assert_eq!(faults(&doctored.0), [parameter], "{part}");
    }
    let defaulted = template
        .doctored(|it| it["Parameters"]["AllowedOrigins"]["Default"] = json!("https://a.example"));
    assert_eq!(faults(&defaulted.0), ["AllowedOrigins"]);
}

#[test]
fn what_connects_a_deployment_finds_its_outputs() {
    let template = Template::here();
    let choice = super::everything();
    let named = template.deployed(&choice).outputs;
    for name in [
        "ApiUrl",
        "PartnerIds",
        "PartnerSecretPrefix",
        "ChannelSecretPrefix",
        "PartnerApiUrl",
        "HubApiKeysPath",
        "TableName",
        "EventBusName",
        "ReadChannelKeysPolicyArn",
        "AlarmTopicArn",
    ] {
        let output = &named[name];
        assert!(
            output["Value"].is_string()
                && output["Description"].is_string()
                && output["Export"].is_null(),
            "{name}"
        );
    }
    assert_eq!(
        named["ApiUrl"]["Value"],
        "https://<HttpApi>.execute-api.eu-central-1.amazonaws.com"
    );
    assert_eq!(named["PartnerIds"]["Value"], "aPA,bPA");
    let own: Vec<_> = choice
        .iter()
        .copied()
        .chain([("PublicUrl", "https://connect.example")])
        .collect();
    let own = template.deployed(&own).outputs;
    assert_eq!(own["ApiUrl"]["Value"], "https://connect.example");
    assert_eq!(
        own["WebhookUrl"]["Value"],
        "https://connect.example/{partner_id}/webhook"
    );
    assert_eq!(
        own["RedirectUrl"]["Value"],
        "https://connect.example/{partner_id}/redirect"
    );
}

#[test]
fn every_parameter_has_its_place_on_the_form() {
    let template = Template::here();
    let groups =
        super::list(&template.0["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]);
    let mut placed: Vec<String> = groups
        .iter()
        .flat_map(|group| super::texts(&group["Parameters"]))
        .collect();
    placed.sort();
    let names: Vec<&str> = entries(&template.0["Parameters"])
        .map(|(name, _)| name)
        .collect();
    assert_eq!(placed, names, "{}", repository().display());
}

/// As CloudFormation reads the pattern, but for the dialect of regular expressions.
fn allows(template: &Template, parameter: &str, value: &str) -> bool {
    jsonschema::is_valid(
        &json!({"pattern": template.0["Parameters"][parameter]["AllowedPattern"]}),
        &json!(value),
    )
}

fn refused(template: &Template, choices: &[&[(&'static str, &'static str)]]) -> Vec<String> {
    let choice = [REQUIRED.as_slice(), &MORE]
        .into_iter()
        .chain(choices.iter().copied())
        .flatten()
        .copied()
        .collect();
    template.deployed(&choice).refused
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
