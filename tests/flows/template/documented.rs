//! `docs/settings.md` against the template and the bundle on one machine.

use std::collections::{BTreeMap, BTreeSet};

use runtime::settings::Environment;
use serde_json::Value;
use tests::owned;

use super::{MORE, TOKENS, Template, choice, entries, functions, logical_id};

const PAGE: &str = include_str!("../../../docs/settings.md");

/// How the page calls what has no default.
const REQUIRED: &str = "**required**";

/// Names, each with what is said of it.
type Facts = BTreeSet<(String, String)>;

#[test]
fn every_setting_is_documented_with_its_parameter_default_and_functions() {
    let template = Template::here();
    assert_eq!(faults(&template, PAGE), [] as [&str; 0]);
    for (name, from, to) in [
        ("PUBLIC_URL", "| `PUBLIC_URL` |", "| `PUBLIC_UR` |"),
        ("LogRetentionDays", "| `30` |", "| `31` |"),
        ("DATA", "| `DATA` |", "| `DAT` |"),
    ] {
        let faults = faults(&template, &PAGE.replace(from, to));
        assert!(faults.iter().any(|fault| fault.starts_with(name)), "{name}");
    }
}

/// What either `page` or the template and the code say, and not both.
fn faults(template: &Template, page: &str) -> Vec<String> {
    let [shared, on_aws, on_one_machine] =
        ["Functions", "Only on AWS", "Only on one machine"].map(|heading| table(page, heading));
    let read = shared.iter();
    let read: Facts = read.map(|row| (name(&row[0]), readers(&row[5]))).collect();
    let mut faults: Vec<_> = read
        .symmetric_difference(&read_on_aws(template))
        .cloned()
        .collect();

    let shared = shared.iter().filter(|row| !row[1].is_empty());
    let shared = shared.map(|row| (name(&row[1]), default(&row[2])));
    let on_aws = on_aws.iter().map(|row| (name(&row[0]), default(&row[1])));
    let defaults: Facts = shared.chain(on_aws).collect();
    faults.extend(defaults.symmetric_difference(&declared(template)).cloned());

    let on_one_machine: BTreeSet<String> = on_one_machine.iter().map(|row| name(&row[0])).collect();
    let mut asked = asked_on_one_machine();
    asked.retain(|asked| read.iter().all(|(name, _)| name != asked));
    let different = on_one_machine.symmetric_difference(&asked);
    faults.extend(different.map(|name| (name.clone(), String::new())));
    faults
        .iter()
        .map(|(name, what)| format!("{name}: {what}"))
        .collect()
}

/// The variables that functions get from the template, and which functions; those of libraries are nobody's to set.
fn read_on_aws(template: &Template) -> Facts {
    let deployed = template.deployed(&choice(&[&TOKENS, &MORE]));
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in functions() {
        for (name, _) in deployed.variables(&logical_id(&function)) {
            if !name.starts_with("AWS_") {
                read.entry(name).or_default().insert(function.clone());
            }
        }
    }
    let read = read.into_iter();
    read.map(|(name, functions)| (name, format!("{functions:?}")))
        .collect()
}

/// The parameters, with their defaults in words.
fn declared(template: &Template) -> Facts {
    let default = |parameter: &Value| match &parameter["Default"] {
        Value::Null => REQUIRED.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let parameters = entries(&template.0["Parameters"]);
    parameters
        .map(|(name, it)| (name.to_owned(), default(it)))
        .collect()
}

fn asked_on_one_machine() -> BTreeSet<String> {
    let required = "SECRETS_FILE PARTNER_IDS PARTNER_API_URL ALLOWED_ORIGINS JWT_HS256_SECRET";
    let mut complete = vec![("HUB", "none")];
    complete.extend(required.split(' ').map(|name| (name, "x")));
    let environment = Environment::from_iter(owned(&complete));
    local::settings::Settings::from_env(environment.clone()).expect("complete settings");
    environment.asked()
}

/// The rows of the first table behind `heading`, without its head.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, behind) = page
        .split_once(&format!("## {heading}\n"))
        .expect("the heading");
    let rows = behind.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

/// The first text of `cell` that is marked as code.
fn name(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_default().to_owned()
}

/// A default as its cell says it; what is only required with another parameter is empty by default.
fn default(cell: &str) -> String {
    match cell {
        REQUIRED => cell.to_owned(),
        cell if cell.starts_with("required with") => String::new(),
        cell => name(cell),
    }
}

fn readers(cell: &str) -> String {
    let readers: BTreeSet<String> = match cell {
        "all" => functions(),
        cell => cell.split(", ").map(str::to_owned).collect(),
    };
    format!("{readers:?}")
}
