//! What each function is told, against what it asks for.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;

use runtime::aws::Aws;
use runtime::settings::{Environment, SettingError};
use serde_json::json;

use super::evaluate::Deployment;
use super::{TOKENS, Template, choice, functions, holds, logical_id, repository};

/// What no code of ours asks for: `tracing-subscriber` does, and `lambda_http`, which a function behind the gateway has.
const OF_LIBRARIES: [&str; 2] = ["RUST_LOG", "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"];

/// What a deployment says itself; all else has a default.
const SAID: &str = "TABLE_NAME BODIES_TABLE_NAME PARTNER_IDS ALLOWED_ORIGINS TENANT_CLAIM \
                    PARTNER_SECRET_PREFIX KEY_ENCRYPTION_KEY";

#[test]
fn a_function_is_told_exactly_what_it_asks_for() {
    holds(
        environments,
        &[
            "WebhookFunction/Properties/Environment/Variables/PARTNER_SECRET_PREFIX = null → WebhookFunction asks or is told, not both: PARTNER_SECRET_PREFIX",
            r#"ChannelsFunction/Properties/Environment/Variables/EVENT_BUS_NAME = "x" → ChannelsFunction asks or is told, not both: EVENT_BUS_NAME"#,
            "RedirectFunction/Properties/Environment/Variables/AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH = null → RedirectFunction asks or is told, not both: AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH",
            "ProvisionFunction/Properties/Environment/Variables/KEY_ENCRYPTION_KEY = null → ProvisionFunction does not start",
        ],
    );
}

#[test]
fn every_function_has_its_resource_and_every_resource_its_function() {
    let folders = functions();
    holds(
        |deployed| resources(deployed, &folders),
        &[
            "SignFunction = null → no resource for sign",
            r#"SignFunction/Properties/Code/S3Key = "functions/x" → SignFunction is not built from"#,
            r#"SignFunction/Metadata/BuildProperties/Binary = "x" → SignFunction is not built from"#,
            r#"MoreFunction = {"Type": "AWS::Lambda::Function"} → MoreFunction has no folder"#,
        ],
    );
}

#[test]
fn the_defaults_of_the_template_are_those_of_the_code() {
    let template = Template::here();
    assert_eq!(defaults(&template), Vec::<String>::new());
    // One that a function reads, and the two that none does.
    for (parameter, other) in [
        ("IoTimestampWindow", "60"),
        ("SecretPrefix", "x/"),
        ("LogLevel", "debug"),
    ] {
        let pointer = format!("/Parameters/{parameter}/Default");
        let doctored = template.doctored(&pointer, &json!(other));
        assert!(!defaults(&doctored).is_empty(), "{parameter}");
    }
}

fn environments(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for function in functions() {
        let name = logical_id(&function);
        let variables = deployed.variables(&name);
        let told: BTreeSet<String> = variables.keys().cloned().collect();
        let environment: Environment = variables.into_iter().collect();
        if let Err(why) = ask(&function, &environment) {
            faults.push(format!("{name} does not start: {why}"));
            continue;
        }
        let is_behind_gateway = main_of(&function).contains("lambda::serve");
        let libraries = if is_behind_gateway { 2 } else { 1 };
        let mut asked = environment.asked();
        // Region, credentials and endpoints: Lambda says them.
        asked.retain(|name| !name.starts_with("AWS_"));
        asked.extend(OF_LIBRARIES.map(str::to_owned).into_iter().take(libraries));
        for one in asked.symmetric_difference(&told) {
            faults.push(format!("{name} asks or is told, not both: {one}"));
        }
    }
    faults
}

fn resources(deployed: &Deployment, folders: &BTreeSet<String>) -> Vec<String> {
    let wanted: BTreeSet<String> = folders.iter().map(|folder| logical_id(folder)).collect();
    let there = deployed.of_type("AWS::Lambda::Function");
    let extra = there.filter(|(name, _)| !wanted.contains(*name));
    let mut faults: Vec<String> = extra
        .map(|(name, _)| format!("{name} has no folder"))
        .collect();
    for folder in folders {
        let name = logical_id(folder);
        let Some(resource) = deployed.resources.get(&name) else {
            faults.push(format!("no resource for {folder}"));
            continue;
        };
        let from = format!("functions/{folder}");
        let built =
            json!({"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": folder}});
        let code = &resource["Properties"]["Code"]["S3Key"];
        if resource["Metadata"] != built || *code != from.as_str() {
            faults.push(format!("{name} is not built from {from}"));
        }
    }
    faults
}

/// What is different when only what must be said is said.
fn defaults(template: &Template) -> Vec<String> {
    let deployed = template.deployed(&choice(&[&TOKENS]));
    let mut faults = Vec::new();
    for function in functions() {
        let told = deployed.variables(&logical_id(&function));
        let mut said = told.clone();
        said.retain(|name, _| SAID.split(' ').any(|it| it == name));
        for (name, default) in [
            // In every stack another one.
            ("PARTNER_SECRET_PREFIX", "360dialog/stack/partners/"),
            ("KEY_ENCRYPTION_KEY", "<SealingKey.Arn>"),
            ("RUST_LOG", "info"),
        ] {
            if told.get(name).is_some_and(|told| told != default) {
                faults.push(format!("{function}: {name}"));
            }
        }
        let [of_template, of_code] =
            [told, said].map(|variables| ask(&function, &variables.into_iter().collect()));
        if of_template.is_err() || of_template != of_code {
            faults.push(format!("{function}: {of_template:?} and not {of_code:?}"));
        }
    }
    faults
}

/// Asks `environment` for all that a function's settings and its `main` ask for; its settings, in words.
fn ask(function: &str, environment: &Environment) -> Result<String, String> {
    let settings = match function {
        "sign" => words(sign::Settings::from_env(environment)),
        "redirect" => words(redirect::Settings::from_env(environment)),
        "webhook" => words(webhook::Settings::from_env(environment)),
        "channels" => words(channels::Settings::from_env(environment)),
        "fold" => words(fold::Settings::from_env(environment)),
        "provision" => words(provision::Settings::from_env(environment)),
        _ => Err(format!("the test does not know {function}")),
    }?;
    let aws = Aws::from_environment(environment.clone()).map_err(|why| why.to_string())?;
    let main = main_of(function);
    for call in main.split("aws.").skip(1) {
        let end = call.find(|c: char| c != '_' && !c.is_ascii_lowercase());
        match &call[..end.unwrap_or(call.len())] {
            "environment" | "table" | "tls" => {}
            "partner_secrets" => drop(aws.partner_secrets().map_err(|why| why.to_string())?),
            "seal" => drop(aws.seal().map_err(|why| why.to_string())?),
            "event_bus" => drop(aws.event_bus()),
            other => return Err(format!("the test does not know aws.{other}")),
        }
    }
    Ok(settings)
}

fn words(settings: Result<impl Debug, SettingError>) -> Result<String, String> {
    let words = settings.map(|settings| format!("{settings:?}"));
    words.map_err(|error| error.to_string())
}

/// The source of a function's `main`, less its imports.
fn main_of(function: &str) -> String {
    let path = repository().join(format!("functions/{function}/src/main.rs"));
    let source = fs::read_to_string(path).expect("a main");
    let lines = source.lines().filter(|line| !line.starts_with("use "));
    lines.collect::<Vec<_>>().join("\n")
}
