//! What template.yaml deploys, held against the code: the template is transformed as SAM does it, on this machine, and
//! then evaluated for every choice that changes what is deployed.

mod alarms;
mod evaluate;
mod gateway;
mod graph;
mod openapi;
mod parameters;
mod rights;
mod settings;
mod streams;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::evaluate::Deployment;

/// The parameters that have no default and that no rule asks for.
const REQUIRED: [(&str, &str); 2] = [
    ("PartnerIds", "aPA,bPA"),
    ("AllowedOrigins", "https://a.example,https://b.example"),
];

/// What makes a choice for tokens complete.
const TOKENS: [(&str, &str); 3] = [
    ("JwtIssuer", "https://idp.example/"),
    ("JwtAudience", "app,phone"),
    ("TenantClaim", "org"),
];

const IAM: [(&str, &str); 1] = [("CallerAuth", "IAM")];

/// What adds rights.
const MORE: [(&str, &str); 3] = [
    (
        "ChannelSecretKmsKeyId",
        "arn:aws:kms:eu-central-1:111122223333:key/k",
    ),
    ("EventBusName", "bus"),
    ("AlarmEmail", "a@b.example"),
];

/// A choice of parameters, over their defaults.
type Choice = Vec<(&'static str, &'static str)>;

/// Tokens and IAM, each with as little and as much as possible.
fn choices() -> [Choice; 4] {
    [
        vec![TOKENS.as_slice()],
        vec![IAM.as_slice()],
        vec![&TOKENS, &MORE],
        vec![&IAM, &MORE],
    ]
    .map(|parts| {
        [REQUIRED.as_slice()]
            .into_iter()
            .chain(parts)
            .flatten()
            .copied()
            .collect()
    })
}

/// Tokens, and all that adds rights.
fn everything() -> Choice {
    let [_, _, everything, _] = choices();
    everything
}

/// A word of the fault that is to be found, and the change that makes it.
type Doctor<'a> = (&'a str, fn(&mut Value));

/// The template as CloudFormation gets it.
struct Template(Value);

impl Template {
    /// That of this repository.
    fn here() -> Self {
        let chosen: std::collections::BTreeMap<_, _> = everything().into_iter().collect();
        let template = repository().join("template.yaml");
        let arguments = [
            template.to_str().expect("a path"),
            &json!(chosen).to_string(),
        ];
        Self(serde_json::from_str(&python("transform.py", &arguments, &Value::Null)).expect("JSON"))
    }

    /// That of this repository after `change`, to see a rule fail.
    fn doctored(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut doctored = self.0.clone();
        change(&mut doctored);
        assert_ne!(doctored, self.0, "the doctor did nothing");
        Self(doctored)
    }

    fn deployed(&self, choice: &Choice) -> Deployment {
        Deployment::of(&self.0, choice)
    }

    /// What `rule` finds, whatever is chosen.
    fn faults(&self, rule: impl Fn(&Deployment) -> Vec<String>) -> Vec<String> {
        choices()
            .iter()
            .flat_map(|choice| rule(&self.deployed(choice)))
            .collect()
    }
}

/// Asserts that `rule` has nothing against the template of this repository, and something with `word` in it against each
/// doctored one.
fn holds(rule: impl Fn(&Deployment) -> Vec<String>, doctors: &[Doctor]) {
    let template = Template::here();
    assert_eq!(template.faults(&rule), Vec::<String>::new());
    for (word, doctor) in doctors {
        let faults = template.doctored(doctor).faults(&rule);
        assert!(
            faults.iter().any(|fault| fault.contains(word)),
            "{word}: {faults:?}"
        );
    }
}

/// What a script of tests/template/ prints, given `input` as JSON.
fn python(script: &str, arguments: &[&str], input: &Value) -> String {
    let python = repository().join("tools/python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run make tools",
        python.display()
    );
    let mut program = Command::new(python);
    program
        .arg(repository().join("tests/template").join(script))
        .args(arguments);
    // The region only has to be there: nothing is asked of it.
    program
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = program.spawn().expect("python");
    // A script that reads none of it may be gone already.
    let _unread = running
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.to_string().as_bytes()));
    let ended = running.wait_with_output().expect("an end");
    assert!(
        ended.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).expect("text")
}

/// The functions' names, from the folders.
fn functions() -> std::collections::BTreeSet<String> {
    crate::layers::folders()
}

/// The function `sign` is the resource `SignFunction`.
fn logical_id(function: &str) -> String {
    let (first, rest) = function.split_at(1);
    format!("{}{rest}Function", first.to_uppercase())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The entries of an object.
fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// A text, or a list of texts, as a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(many) => many.iter().flat_map(texts).collect(),
        Value::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}
