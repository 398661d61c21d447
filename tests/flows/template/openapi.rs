//! The body of the API is OpenAPI to the letter: the deployment fails on whatever is not.

use serde_json::{Value, json};

use super::{Template, choices, python};

#[test]
fn the_api_is_valid_openapi_however_callers_are_known() {
    let template = Template::here();
    assert_eq!(faults(&template), "");
    let responses = "/Resources/HttpApi/Properties/Body/paths/~1{partner_id}~1sign/get/responses";
    let faults = faults(&template.doctored(responses, &Value::Null));
    assert!(faults.contains("responses"), "{faults}");
}

fn faults(template: &Template) -> String {
    let [tokens, iam, ..] = choices();
    let body = |choice| template.deployed(&choice).properties("HttpApi")["Body"].clone();
    python("openapi.py", &[], &json!([tokens, iam].map(body)))
}
