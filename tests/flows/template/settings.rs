//! What each function is told, against what it asks for.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;

use runtime::aws::{Aws, PARTNER_SECRET_PREFIX};
use runtime::settings::{Environment, SettingError};
use serde_json::{Value, json};

use super::evaluate::Deployment;
use super::{
    Doctor, REQUIRED, TOKENS, Template, entries, functions, holds, logical_id, repository,
};

/// What no code of ours asks for: `tracing-subscriber` does, and `lambda_http`, which a function behind the gateway has.
const OF_LIBRARIES: [&str; 2] = ["RUST_LOG", "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"];

/// What a deployment says itself; all else has a default.
const SAID: [&str; 4] = [
    "TABLE_NAME",
    "PARTNER_IDS",
    "ALLOWED_ORIGINS",
    "TENANT_CLAIM",
];

#[test]
fn a_function_is_told_exactly_what_it_asks_for() {
    holds(
        environments,
        &[
            ("SignFunction", |it| {
                drop(variables(it, "SignFunction").remove("IO_TIMESTAMP_WINDOW"))
            }),
            ("WebhookFunction", |it| {
                drop(variables(it, "WebhookFunction").remove("PARTNER_SECRET_PREFIX"))
            }),
            ("FoldFunction", |it| {
                drop(variables(it, "FoldFunction").remove("EVENT_BUS_NAME"))
            }),
            ("ProvisionFunction", |it| {
                drop(variables(it, "ProvisionFunction").remove("TABLE_NAME"))
            }),
            // The names of numbers' secrets would begin like those of partners'.
            ("ProvisionFunction does not start", |it| {
                drop(
                    variables(it, "ProvisionFunction")
                        .insert("PARTNER_SECRET_PREFIX".into(), json!("360dialog/")),
                )
            }),
            ("ChannelsFunction", |it| {
                drop(variables(it, "ChannelsFunction").insert("EVENT_BUS_NAME".into(), json!("x")))
            }),
            ("RedirectFunction", |it| {
                drop(
                    variables(it, "RedirectFunction")
                        .remove("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH"),
                );
            }),
        ],
    );
}

#[test]
fn every_function_has_its_resource_and_every_resource_its_function() {
    let folders = functions();
    let holds_for = |folders: BTreeSet<String>, doctors: &[Doctor]| {
        holds(|deployed| resources(deployed, &folders), doctors);
    };
    holds_for(
        folders.clone(),
        &[
            ("sign", |it| {
                drop(
                    it["Resources"]
                        .as_object_mut()
                        .expect("resources")
                        .remove("SignFunction"),
                )
            }),
            ("SignFunction", |it| {
                it["Resources"]["SignFunction"]["Properties"]["Code"]["S3Key"] =
                    json!("functions/x")
            }),
            ("SignFunction", |it| {
                it["Resources"]["SignFunction"]["Metadata"]["BuildProperties"]["Binary"] =
                    json!("x")
            }),
            ("MoreFunction", |it| {
                it["Resources"]["MoreFunction"] = it["Resources"]["SignFunction"].clone()
            }),
        ],
    );
    let template = Template::here();
    let with_one_more = folders
        .iter()
        .cloned()
        .chain(["forgotten".to_owned()])
        .collect();
    assert_eq!(
        resources(&template.deployed(&super::everything()), &with_one_more),
        ["no resource for forgotten"]
    );
}

#[test]
fn the_defaults_of_the_template_are_those_of_the_code() {
    let template = Template::here();
    assert_eq!(defaults(&template), Vec::<String>::new());
    for (parameter, other) in [
        ("OnboardingUrl", "https://hub.example"),
        ("IoTimestampWindow", "60"),
        ("IoSignatureEncoding", "base64"),
        ("PartnerApiUrl", "https://hub.example"),
        ("HubApiKeysPath", "/{channel_id}"),
        ("AutoProvision", "off"),
        ("SecretPrefix", "x/"),
        ("LogLevel", "debug"),
    ] {
        let doctored =
            template.doctored(|it| it["Parameters"][parameter]["Default"] = json!(other));
        assert!(!defaults(&doctored).is_empty(), "{parameter}");
    }
}

fn environments(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for function in functions() {
        let name = logical_id(&function);
        let environment = environment(deployed, &name);
        if let Err(why) = ask(&function, &environment) {
            faults.push(format!("{name} does not start: {why}"));
            continue;
        }
        let told: BTreeSet<String> =
            entries(&deployed.properties(&name)["Environment"]["Variables"])
                .map(|(name, _)| name.to_owned())
                .collect();
        let main = main_of(&function);
        let libraries = if main.contains("lambda::serve") {
            OF_LIBRARIES.as_slice()
        } else {
            &OF_LIBRARIES[..1]
        };
        let mut asked = environment.asked();
        // Region, credentials and endpoints: Lambda says them.
        asked.retain(|name| !name.starts_with("AWS_"));
        asked.extend(libraries.iter().map(|name| (*name).to_owned()));
        faults.extend(
            asked
                .symmetric_difference(&told)
                .map(|it| format!("{name} asks or is told, not both: {it}")),
        );
    }
    faults
}

fn resources(deployed: &Deployment, folders: &BTreeSet<String>) -> Vec<String> {
    let wanted: BTreeSet<String> = folders.iter().map(|folder| logical_id(folder)).collect();
    let there = deployed
        .of_type("AWS::Lambda::Function")
        .map(|(name, _)| name);
    let extra = there
        .filter(|name| !wanted.contains(*name))
        .map(|name| format!("{name} has no folder"));
    let mut faults: Vec<String> = extra.collect();
    for folder in folders {
        let name = logical_id(folder);
        let Some(resource) = deployed.resources.get(&name) else {
            faults.push(format!("no resource for {folder}"));
            continue;
        };
        let built =
            json!({"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": folder}});
        let from = format!("functions/{folder}");
        if resource["Metadata"] != built || resource["Properties"]["Code"]["S3Key"] != from.as_str()
        {
            faults.push(format!("{name} is not built from {from}"));
        }
    }
    faults
}

/// What is different when only what must be said is said.
fn defaults(template: &Template) -> Vec<String> {
    let choice = REQUIRED.into_iter().chain(TOKENS).collect();
    let deployed = template.deployed(&choice);
    let mut faults = Vec::new();
    for function in functions() {
        let told = environment(&deployed, &logical_id(&function));
        let said = SAID
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), told.text(name)?.to_owned())))
            .collect();
        let (of_template, of_code) = (ask(&function, &told), ask(&function, &said));
        if of_template.is_err() || of_template != of_code {
            faults.push(format!("{function}: {of_template:?} and not {of_code:?}"));
        }
        for (name, default) in [
            ("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX),
            ("RUST_LOG", "info"),
        ] {
            faults.extend(
                told.text(name)
                    .filter(|told| *told != default)
                    .map(|_| format!("{function}: {name}")),
            );
        }
    }
    faults
}

fn environment(deployed: &Deployment, function: &str) -> Environment {
    let variables = entries(&deployed.properties(function)["Environment"]["Variables"]);
    variables
        .map(|(name, value)| {
            (
                name.to_owned(),
                value.as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect()
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
        "reconcile" => words(reconcile::Settings::from_env(environment)),
        _ => Err(format!("the test does not know {function}")),
    }?;
    let aws = Aws::from_environment(environment.clone()).map_err(|why| why.to_string())?;
    let main = main_of(function);
    for call in main
        .split("aws.")
        .skip(1)
        .filter_map(|rest| rest.split([')', '(', ',']).next())
    {
        match call {
            "environment" | "table" | "tls" => {}
            "partner_secrets" => drop(aws.partner_secrets().map_err(|why| why.to_string())?),
            "vault" => drop(aws.vault()),
            "event_bus" => drop(aws.event_bus()),
            _ => {
                return Err(format!(
                    "main asks for aws.{call}, which the test does not know"
                ));
            }
        }
    }
    Ok(settings)
}

fn words(settings: Result<impl Debug, SettingError>) -> Result<String, String> {
    settings
        .map(|settings| format!("{settings:?}"))
        .map_err(|error| error.to_string())
}

/// The source of a function's `main`, less its imports.
fn main_of(function: &str) -> String {
    let path = repository()
        .join("functions")
        .join(function)
        .join("src/main.rs");
    let source = fs::read_to_string(path).expect("a main");
    source
        .lines()
        .filter(|line| !line.starts_with("use "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn variables<'a>(
    template: &'a mut Value,
    function: &str,
) -> &'a mut serde_json::Map<String, Value> {
    let variables = &mut template["Resources"][function]["Properties"]["Environment"]["Variables"];
    variables.as_object_mut().expect("variables")
}
