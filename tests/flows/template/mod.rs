//! What template.yaml deploys, held against the code: the template is transformed as SAM does it, on this machine, and
//! then evaluated for every choice that changes what is deployed. Each rule is shown to fail once.

pub(crate) mod alarms;
mod documented;
mod evaluate;
mod gateway;
mod graph;
mod names;
mod openapi;
mod parameters;
mod rights;
mod settings;
mod streams;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

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

/// A KMS key that sealed before.
const FORMER_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/former";

/// The choices that add rights, or work.
const MORE: [(&str, &str); 5] = [
    (
        "KeyEncryptionKey",
        "arn:aws:kms:eu-central-1:111122223333:key/k",
    ),
    ("FormerKeyEncryptionKeys", FORMER_KEY),
    ("EventBusName", "bus"),
    (
        "MessagingWebhookUrl",
        "https://app.example/{partner_id}/{channel_id}",
    ),
    ("AlarmEmail", "a@b.example"),
];

/// Switches traces on.
const TRACING: (&str, &str) = ("XRayTracing", "Active");

/// A choice of parameters, over their defaults.
type Choice = Vec<(&'static str, &'static str)>;

/// The required parameters and these.
fn choice(parts: &[&[(&'static str, &'static str)]]) -> Choice {
    [REQUIRED.as_slice(), &parts.concat()].concat()
}

/// Tokens and IAM, each with as little and as much as possible.
fn choices() -> [Choice; 4] {
    let (tokens, iam) = (TOKENS.as_slice(), IAM.as_slice());
    [
        choice(&[tokens]),
        choice(&[iam]),
        choice(&[tokens, &MORE]),
        choice(&[iam, &MORE]),
    ]
}

/// Tokens, and all that adds rights.
fn everything() -> Choice {
    choice(&[&TOKENS, &MORE])
}

/// `place = JSON → words`: a place in the template (a JSON pointer, from `Resources` on), what stands there instead
/// (`null` for nothing at all, a place that ends in `-` for one more in a list), and words of the fault to be found.
type Doctor = &'static str;

/// The template as CloudFormation gets it.
struct Template(Value);

impl Template {
    /// That of this repository.
    fn here() -> Self {
        Self::with(&everything())
    }

    /// The same, transformed for a choice: SAM looks at one parameter itself, [`TRACING`].
    fn with(choice: &Choice) -> Self {
        let chosen: BTreeMap<_, _> = choice.iter().copied().collect();
        let template = repository().join("template.yaml");
        let arguments = [
            template.to_str().expect("a path"),
            &json!(chosen).to_string(),
        ];
        let kept = Self::place_of(&arguments);
        let transformed = std::fs::read_to_string(&kept).unwrap_or_else(|_| {
            let transformed = python("transform.py", &arguments, &Value::Null);
            let file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
            std::fs::write(&file, &transformed).expect("written");
            file.persist(&kept).expect("kept");
            transformed
        });
        Self(serde_json::from_str(&transformed).expect("JSON"))
    }

    /// Where the transformation is kept, since it takes seconds and every test here wants it: named for all it is of.
    fn place_of(arguments: &[&str]) -> PathBuf {
        let mut hash = Sha256::new();
        for file in [
            "template.yaml",
            "tests/template/transform.py",
            "scripts/requirements.txt",
        ] {
            hash.update(std::fs::read(repository().join(file)).expect("a file"));
        }
        hash.update(arguments.concat());
        let name = HEXLOWER.encode(&hash.finalize());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("template-{name}.json"))
    }

    /// That of this repository with something else at a place, to see a rule fail.
    fn doctored(&self, pointer: &str, value: &Value) -> Self {
        let mut doctored = self.0.clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let name = name.replace("~1", "/");
        match doctored.pointer_mut(parent) {
            Some(Value::Object(fields)) if value.is_null() => drop(fields.remove(&name)),
            Some(Value::Object(fields)) => drop(fields.insert(name, value.clone())),
            Some(Value::Array(items)) if name == "-" => items.push(value.clone()),
            Some(Value::Array(items)) => {
                let index: usize = name.parse().expect("a number");
                items.splice(index..=index, (!value.is_null()).then(|| value.clone()));
            }
            other => panic!("{parent} is {other:?}"),
        }
        assert_ne!(doctored, self.0, "{pointer} is the same as before");
        Self(doctored)
    }

    fn deployed(&self, choice: &Choice) -> Deployment {
        Deployment::named("stack", &self.0, choice)
    }

    /// What `rule` finds, whatever is chosen.
    fn faults(&self, rule: impl Fn(&Deployment) -> Vec<String>) -> Vec<String> {
        let choices = choices();
        let faults = choices.iter().map(|choice| rule(&self.deployed(choice)));
        faults.flatten().collect()
    }
}

/// Asserts that `rule` has nothing against the template of this repository, and something with the doctor's words in it
/// against each doctored one.
fn holds(rule: impl Fn(&Deployment) -> Vec<String>, doctors: &[Doctor]) {
    let template = Template::here();
    assert_eq!(template.faults(&rule), Vec::<String>::new());
    for doctor in doctors {
        let (place, rest) = doctor.split_once(" = ").expect("a place");
        let (value, words) = rest.split_once(" → ").expect("words");
        let value = serde_json::from_str(value).expect("JSON");
        let doctored = template.doctored(&format!("/Resources/{place}"), &value);
        let faults = doctored.faults(&rule);
        let is_found = faults.iter().any(|fault| fault.contains(words));
        assert!(is_found, "{doctor}: {faults:?}");
    }
}

/// What a script of tests/template/ prints, given `input` as JSON.
fn python(script: &str, arguments: &[&str], input: &Value) -> String {
    let python = repository().join("tools/python/bin/python");
    let missing = format!("{} is missing: run make tools", python.display());
    assert!(python.exists(), "{missing}");
    let mut program = Command::new(python);
    let script = repository().join("tests/template").join(script);
    program.arg(&script).args(arguments);
    // The region only has to be there: nothing is asked of it.
    program.env("AWS_DEFAULT_REGION", "eu-central-1");
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = program.stderr(Stdio::piped()).spawn().expect("python");
    let mut stdin = running.stdin.take().expect("its input");
    // A script that reads none of it may be gone already.
    let _unread = stdin.write_all(input.to_string().as_bytes());
    drop(stdin);
    let ended = running.wait_with_output().expect("an end");
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {error}", script.display());
    String::from_utf8(ended.stdout).expect("text")
}

/// The functions' names, from the folders.
fn functions() -> BTreeSet<String> {
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
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.as_str(), value))
}

/// A text, or a list of texts, as a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(many) => many.iter().flat_map(texts).collect(),
        Value::String(one) => vec![one.clone()],
        _ => Vec::new(),
    }
}
