//! Which resource needs which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Template, entries, list, texts};

#[test]
fn no_resource_needs_itself() {
    let template = Template::here();
    assert_eq!(cycle(&template.0), None);
    // The API needs the function.
    let url = "/Resources/SignFunction/Properties/Environment/Variables/PUBLIC_URL";
    let of_the_api = json!({"Fn::Sub": "https://${HttpApi}.example"});
    assert!(cycle(&template.doctored(url, &of_the_api).0).is_some());
}

/// A resource that needs itself, if there is one.
fn cycle(template: &Value) -> Option<String> {
    let mut needs = BTreeMap::new();
    for (name, resource) in entries(&template["Resources"]) {
        let mut named = texts(&resource["DependsOn"]);
        collect(resource, &mut named);
        named.retain(|named| template["Resources"].get(named).is_some());
        needs.insert(name.to_owned(), named);
    }
    let mut names = needs.keys();
    names.find(|name| reaches(&needs, name)).cloned()
}

fn reaches(needs: &BTreeMap<String, Vec<String>>, start: &str) -> bool {
    let mut open: Vec<&String> = needs[start].iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if name == start {
            return true;
        }
        if seen.insert(name) {
            open.extend(&needs[name]);
        }
    }
    false
}

/// Adds the names that `Ref`, `Fn::GetAtt` and `Fn::Sub` in `value` name.
fn collect(value: &Value, named: &mut Vec<String>) {
    for (name, inner) in entries(value) {
        let first = list(inner).first().unwrap_or(inner);
        match name {
            "Ref" | "Fn::GetAtt" => named.extend(texts(first)),
            "Fn::Sub" => {
                for piece in texts(first).iter().flat_map(|it| it.split("${").skip(1)) {
                    let name = piece.split(['.', '}']).next();
                    named.extend(name.map(str::to_owned));
                }
                list(inner).iter().for_each(|part| collect(part, named));
            }
            _ => collect(inner, named),
        }
    }
    list(value).iter().for_each(|item| collect(item, named));
}
