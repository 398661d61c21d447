//! What each function may do, to the letter.

use serde_json::{Value, json};
use tests::aws::rights::Names;

use super::evaluate::Deployment;
use super::{FORMER_KEY, IAM, MORE, TOKENS, TRACING, Template};
use super::{choice, entries, functions, holds, list, logical_id, texts};

/// The policies that SAM adds to every function: for its log, and for its traces if it makes any.
const LOGS: &str = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
const TRACES: &str = "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess";

const BUS: &str = "arn:aws:events:eu-central-1:111122223333:event-bus/bus";

/// Rights of `fold` and `provision` that Lambda uses in their name, on the table's stream, which has no items to name.
const OF_THE_STREAM: [&str; 4] = [
    "dynamodb:DescribeStream <Table.StreamArn>",
    "dynamodb:GetRecords <Table.StreamArn>",
    "dynamodb:GetShardIterator <Table.StreamArn>",
    "dynamodb:ListStreams *",
];

/// The rights of a function: what it asks of AWS itself, and what is done in its name.
fn rights(deployed: &Deployment, function: &str) -> Vec<String> {
    let variables = deployed.variables(&logical_id(function));
    let mut rights = Names::of(&variables).rights(function);
    if function == "provision" && variables.contains_key("MESSAGING_WEBHOOK_URL") {
        rights.push(format!("kms:Decrypt {FORMER_KEY}"));
    }
    if ["fold", "provision"].contains(&function) {
        rights.extend(OF_THE_STREAM.map(str::to_owned));
        rights.push("sqs:SendMessage <FailedRecords.Arn>".to_owned());
    }
    rights
}

#[test]
fn a_function_may_do_what_it_does_and_nothing_else() {
    holds(
        faults_of_functions,
        &[
            r#"SignFunctionRole/Properties/Policies/0/PolicyDocument/Statement/0/Action = ["dynamodb:UpdateItem", "dynamodb:DeleteItem"] → SignFunction may dynamodb:DeleteItem"#,
            "SignFunctionRole/Properties/Policies/0/PolicyDocument/Statement/1 = null → SignFunction may not secretsmanager:GetSecretValue",
            "ChannelsFunctionRole/Properties/Policies/0/PolicyDocument/Statement/0/Condition/Null = null → names no items",
            r#"WebhookFunctionRole/Properties/Policies/0/PolicyDocument/Statement/0/Effect = "Deny" → Deny"#,
            r#"SignFunctionRole/Properties/ManagedPolicyArns/- = "arn:aws:iam::aws:policy/AdministratorAccess" → AdministratorAccess"#,
            r#"SignFunction/Properties/Role = "arn:aws:iam::111122223333:role/x" → a role of its own"#,
        ],
    );
}

#[test]
fn traces_are_made_only_where_they_are_wanted() {
    for (more, policies, mode) in [
        (&[][..], &[LOGS][..], Value::Null),
        (&[TRACING][..], &[TRACES, LOGS][..], json!("Active")),
    ] {
        let choice = choice(&[&TOKENS, more]);
        let deployed = Template::with(&choice).deployed(&choice);
        for name in functions().iter().map(|function| logical_id(function)) {
            let role = deployed.properties(&format!("{name}Role"));
            let mut added = texts(&role["ManagedPolicyArns"]);
            added.sort();
            assert_eq!(added, policies, "{name}");
            let tracing = &deployed.properties(&name)["TracingConfig"]["Mode"];
            assert_eq!(*tracing, mode, "{name}");
        }
    }
}

#[test]
fn what_sends_messages_may_read_the_keys_of_numbers_and_nothing_else() {
    holds(
        faults_of_readers,
        &[
            r#"ReadChannelKeys/Properties/PolicyDocument/Statement/0/Condition/ForAllValues:StringLike/dynamodb:LeadingKeys = "*" → ReadChannelKeys may dynamodb:GetItem <Table.Arn> *"#,
        ],
    );
}

fn faults_of_functions(deployed: &Deployment) -> Vec<String> {
    let mut faults = Vec::new();
    for function in functions() {
        let name = logical_id(&function);
        let role = format!("{name}Role");
        if deployed.properties(&name)["Role"] != format!("<{role}.Arn>").as_str() {
            faults.push(format!("{name} has not a role of its own"));
        }
        let role = deployed.properties(&role);
        let mut added = texts(&role["ManagedPolicyArns"]);
        added.sort();
        if added != [LOGS] {
            faults.push(format!("{name}: {added:?}"));
        }
        let policies = list(&role["Policies"]).iter();
        let granted = policies.flat_map(|it| lines(&it["PolicyDocument"]["Statement"]));
        let wanted = rights(deployed, &function);
        faults.extend(differences(&name, granted.collect(), wanted, deployed));
    }
    faults
}

fn faults_of_readers(deployed: &Deployment) -> Vec<String> {
    let name = "ReadChannelKeys";
    let granted = lines(&deployed.properties(name)["PolicyDocument"]["Statement"]);
    let key = &deployed.variables("ProvisionFunction")["KEY_ENCRYPTION_KEY"];
    let wanted = vec![
        "dynamodb:GetItem <Table.Arn> KEY#*".to_owned(),
        format!("kms:Decrypt {key}"),
        format!("kms:Decrypt {FORMER_KEY}"),
    ];
    differences(name, granted, wanted, deployed)
}

/// The rights that are granted or wanted, but not both. Where there is neither bus nor former key, nobody has a right to them.
fn differences(
    who: &str,
    granted: Vec<String>,
    mut wanted: Vec<String>,
    deployed: &Deployment,
) -> Vec<String> {
    if !deployed.outputs.contains_key("EventBusName") {
        wanted.retain(|line| !line.contains(BUS) && !line.contains(FORMER_KEY));
    }
    let missing = wanted.iter().filter(|line| !granted.contains(line));
    let missing = missing.map(|line| format!("{who} may not {line}"));
    let extra = granted.iter().filter(|line| !wanted.contains(line));
    let extra = extra.map(|line| format!("{who} may {line}"));
    missing.chain(extra).collect()
}

/// A list of statements, one line for every action.
fn lines(statements: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for statement in list(statements) {
        let effect = &statement["Effect"];
        let resources = texts(&statement["Resource"]);
        let [resource] = resources.as_slice() else {
            return vec![format!("no plain right: {statement}")];
        };
        if effect != "Allow" {
            return vec![format!("no plain right: {statement}")];
        }
        for action in texts(&statement["Action"]) {
            let right = format!("{action} {resource}");
            let is_of_stream = OF_THE_STREAM.contains(&right.as_str());
            let condition = match &statement["Condition"] {
                condition if action.starts_with("dynamodb:") && !is_of_stream => {
                    items_of(condition)
                }
                Value::Null => String::new(),
                condition => format!(", on a condition that the test does not know: {condition}"),
            };
            lines.push(right + &condition);
        }
    }
    lines
}

/// The keys of the items that a condition names, if it also demands that there are any.
fn items_of(condition: &Value) -> String {
    let keys = &condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
    let wanted = json!({
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys},
        "Null": {"dynamodb:LeadingKeys": "false"},
    });
    match texts(keys).join(" ") {
        keys if *condition == wanted && !keys.is_empty() => format!(" {keys}"),
        _ => format!(" but names no items: {condition}"),
    }
}

#[test]
fn without_a_bus_and_a_former_key_nobody_has_a_right_to_them() {
    let template = Template::here();
    for (choice, has_both) in [(choice(&[&IAM]), false), (choice(&[&IAM, &MORE]), true)] {
        let all = json!(template.deployed(&choice).resources).to_string();
        let has = [FORMER_KEY, "events:PutEvents"].map(|right| all.contains(right));
        assert_eq!(has, [has_both; 2]);
    }
    // Each is one that the choices of these tests decide.
    assert_eq!(entries(&template.0["Conditions"]).count(), 7);
}
