//! Which resource needs which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Template, entries, list, texts};

#[test]
fn no_resource_needs_itself() {
    let template = Template::here();
    assert_eq!(cycle(&template.0), None);
    let through_env = template.doctored(|template| {
        template["Resources"]["SignFunction"]["Properties"]["Environment"]["Variables"]["PUBLIC_URL"] =
            json!({"Fn::Sub": "https://${HttpApi}.example"});
    });
    assert!(
        cycle(&through_env.0).is_some(),
        "the API needs the function"
    );
    let by_word = template
        .doctored(|template| template["Resources"]["Table"]["DependsOn"] = json!(["FoldStream"]));
    assert!(cycle(&by_word.0).is_some(), "the mapping needs the table");
    let by_attribute = template.doctored(|template| {
        template["Resources"]["SignFunctionRole"]["Properties"]["Description"] =
            json!({"Fn::GetAtt": ["SignFunction", "Arn"]});
    });
    assert!(
        cycle(&by_attribute.0).is_some(),
        "the function needs its role"
    );
}

/// A resource that needs itself, if there is one.
fn cycle(template: &Value) -> Option<String> {
    let needs: BTreeMap<&str, BTreeSet<String>> = entries(&template["Resources"])
        .map(|(name, resource)| {
            let mut named = BTreeSet::new();
            collect(resource, &mut named);
            named.extend(texts(&resource["DependsOn"]));
            named.retain(|named| template["Resources"].get(named).is_some());
            (name, named)
        })
        .collect();
    assert!(
        needs["HttpApi"].contains("SignFunction"),
        "references are found: {needs:?}"
    );
    needs
        .keys()
        .find(|name| reaches(&needs, name))
        .map(|name| (*name).to_owned())
}

fn reaches(needs: &BTreeMap<&str, BTreeSet<String>>, start: &str) -> bool {
    let mut open: Vec<&String> = needs[start].iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if name == start {
            return true;
        }
        if seen.insert(name) {
            open.extend(&needs[name.as_str()]);
        }
    }
    false
}

/// Adds the names that `Ref`, `Fn::GetAtt` and `Fn::Sub` in `value` name.
fn collect(value: &Value, named: &mut BTreeSet<String>) {
    for (name, inner) in entries(value) {
        match (name, inner) {
            ("Ref", Value::String(resource)) => drop(named.insert(resource.clone())),
            ("Fn::GetAtt", Value::Array(path)) => {
                named.extend(path.first().map(texts).unwrap_or_default())
            }
            ("Fn::Sub", Value::String(pattern)) => named.extend(in_pattern(pattern)),
            ("Fn::Sub", Value::Array(parts)) => {
                named.extend(
                    parts
                        .first()
                        .map(texts)
                        .unwrap_or_default()
                        .iter()
                        .flat_map(|it| in_pattern(it)),
                );
                parts.iter().for_each(|part| collect(part, named));
            }
            _ => collect(inner, named),
        }
    }
    list(value).iter().for_each(|item| collect(item, named));
}

fn in_pattern(pattern: &str) -> Vec<String> {
    let names = pattern
        .split("${")
        .skip(1)
        .filter_map(|piece| piece.split_once('}'));
    names
        .filter_map(|(name, _)| name.split('.').next())
        .map(str::to_owned)
        .collect()
}
