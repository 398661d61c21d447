//! The body of the API is OpenAPI to the letter: the deployment fails on whatever is not.

use serde_json::{Value, json};

use super::{Doctor, Template, choices, python};

#[test]
fn the_api_is_valid_openapi_however_callers_are_known() {
    let template = Template::here();
    assert_eq!(faults(&template), "");
    let doctors: [Doctor; 3] = [
        ("oauth2", |it| {
            let schemes = &mut body(it)["components"]["securitySchemes"]["Fn::If"][1];
            schemes["token"]
                .as_object_mut()
                .expect("a scheme")
                .remove("flows");
        }),
        ("state", |it| {
            body(it)["paths"]["/{partner_id}/redirect/{state}"]["parameters"] = json!([])
        }),
        ("responses", |it| {
            body(it)["paths"]["/{partner_id}/sign"]["get"]
                .as_object_mut()
                .expect("a method")
                .remove("responses");
        }),
    ];
    for (word, doctor) in doctors {
        let faults = faults(&template.doctored(doctor));
        assert!(faults.contains(word), "{word}: {faults}");
    }
}

fn faults(template: &Template) -> String {
    let [tokens, iam, ..] = choices();
    let bodies = [tokens, iam]
        .map(|choice| template.deployed(&choice).properties("HttpApi")["Body"].clone());
    python("openapi.py", &[], &json!(bodies))
}

fn body(template: &mut Value) -> &mut Value {
    &mut template["Resources"]["HttpApi"]["Properties"]["Body"]
}
