//! `docs/settings.md` against the template and the bundle on one machine.

use std::collections::{BTreeMap, BTreeSet};

use platform::settings::Environment;
use serde_json::Value;

use super::{Template, entries, everything, functions, logical_id};

const PAGE: &str = include_str!("../../../docs/settings.md");

/// What `HUB=none` requires.
const REQUIRED_WITHOUT_SIMULATOR: [&str; 5] = [
    "SECRETS_FILE",
    "PARTNER_IDS",
    "PARTNER_API_URL",
    "ALLOWED_ORIGINS",
    "JWT_HS256_SECRET",
];

#[test]
fn every_setting_is_documented_with_its_parameter_default_and_functions() {
    let template = Template::here();
    assert_eq!(faults(&template, PAGE), Vec::<String>::new());
    for (word, from, to) in [
        ("PUBLIC_URL", "| `PUBLIC_URL` |", "| `PUBLIC_UR` |"),
        (
            "AUTO_PROVISION",
            "goes on. | provision |",
            "goes on. | all |",
        ),
        ("JwtAudience", "| `JwtAudience` |", "| `JwtAudienc` |"),
        ("LogRetentionDays", "| `30` |", "| `31` |"),
        ("DATA", "| `DATA` |", "| `DAT` |"),
    ] {
        let page = PAGE.replace(from, to);
        let faults = faults(&template, &page);
        assert!(
            faults.iter().any(|fault| fault.contains(word)),
            "{word}: {faults:?}"
        );
    }
}

/// Where `page` says something else than the template and the code, or nothing.
fn faults(template: &Template, page: &str) -> Vec<String> {
    let [shared, on_aws, on_one_machine] = ["Functions", "Only on AWS", "Only on one machine"]
        .map(|heading| table(page, &format!("## {heading}\n")));
    let mut faults = Vec::new();

    let documented: BTreeMap<_, _> = shared
        .iter()
        .map(|row| (name(&row[0]), readers(&row[5])))
        .collect();
    differences(&mut faults, &documented, &read_on_aws(template));

    let mut parameters: BTreeMap<_, _> = on_aws
        .iter()
        .map(|row| (name(&row[0]), default(&row[1])))
        .collect();
    let with_a_parameter = shared.iter().filter(|row| !row[1].is_empty());
    parameters.extend(with_a_parameter.map(|row| (name(&row[1]), default(&row[2]))));
    differences(&mut faults, &parameters, &declared(template));

    let only_here = |name: &String| !documented.contains_key(name);
    let asked: BTreeMap<_, _> = asked_on_one_machine()
        .into_iter()
        .filter(only_here)
        .map(|name| (name, ()))
        .collect();
    let documented = on_one_machine
        .iter()
        .map(|row| (name(&row[0]), ()))
        .collect();
    differences(&mut faults, &documented, &asked);
    faults
}

fn differences<T: PartialEq + std::fmt::Debug>(
    faults: &mut Vec<String>,
    documented: &BTreeMap<String, T>,
    actual: &BTreeMap<String, T>,
) {
    let names: BTreeSet<_> = documented.keys().chain(actual.keys()).collect();
    for name in names {
        let (documented, actual) = (documented.get(name), actual.get(name));
        if documented != actual {
            faults.push(format!("{name}: documented {documented:?}, is {actual:?}"));
        }
    }
}

/// The variables that functions get from the template, and which functions.
fn read_on_aws(template: &Template) -> BTreeMap<String, BTreeSet<String>> {
    let deployed = template.deployed(&everything());
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in functions() {
        let properties = deployed.properties(&logical_id(&function));
        for (name, _) in entries(&properties["Environment"]["Variables"]) {
            // Those of libraries are nobody's to set.
            if !name.starts_with("AWS_") {
                read.entry(name.to_owned())
                    .or_default()
                    .insert(function.clone());
            }
        }
    }
    read
}

/// The parameters, with their defaults in words; `None` for those that must be given.
fn declared(template: &Template) -> BTreeMap<String, Option<String>> {
    entries(&template.0["Parameters"])
        .map(|(name, parameter)| {
            let default = match &parameter["Default"] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            (name.to_owned(), default)
        })
        .collect()
}

fn asked_on_one_machine() -> BTreeSet<String> {
    let all = REQUIRED_WITHOUT_SIMULATOR.map(|name| (name, "x"));
    let environment: Environment = all
        .into_iter()
        .chain([("HUB", "none")])
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    local::settings::Settings::from_env(environment.clone()).expect("complete settings");
    environment.asked()
}

/// The rows of the first table behind `heading`, without its head.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, behind) = page.split_once(heading).expect("the heading");
    behind
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The first text of `cell` that is marked as code.
fn name(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_default().to_owned()
}

/// A default as its cell says it; what is only required with another parameter is empty by default.
fn default(cell: &str) -> Option<String> {
    match cell {
        "**required**" => None,
        cell if cell.starts_with("required with") => Some(String::new()),
        cell => Some(name(cell)),
    }
}

fn readers(cell: &str) -> BTreeSet<String> {
    if cell == "all" {
        return functions();
    }
    cell.split(", ").map(str::to_owned).collect()
}
