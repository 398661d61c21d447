//! What each function may do, to the letter.

use serde_json::{Value, json};
use tests::aws::rights::Names;

use super::evaluate::Deployment;
use super::{IAM, MORE, REQUIRED, Template, entries, functions, holds, list, logical_id, texts};

/// What SAM adds to every function: the right to write its log and its traces.
const ADDED: [&str; 2] = [
    "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess",
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
];

const KEYS: &str =
    "arn:aws:secretsmanager:eu-central-1:111122223333:secret:360dialog/channels/*-??????";
const KMS_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/k";
const BUS: &str = "arn:aws:events:eu-central-1:111122223333:event-bus/bus";

/// Actions on the table's stream, which has no items to name.
const OF_STREAMS: [&str; 4] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
];

/// The rights of a function: what it asks of AWS itself, and what is done in its name.
fn rights(function: &str, variables: &Value) -> Vec<String> {
    let environment = entries(variables)
        .flat_map(|(name, value)| texts(value).into_iter().map(|it| (name.to_owned(), it)));
    let mut rights = Names::of(&environment.collect()).rights(function);
    if ["fold", "provision"].contains(&function) {
        let more = [
            "dynamodb:DescribeStream <Table.StreamArn>",
            "dynamodb:GetRecords <Table.StreamArn>",
            "dynamodb:GetShardIterator <Table.StreamArn>",
            "dynamodb:ListStreams *",
            "sqs:SendMessage <FailedRecords.Arn>",
        ];
        rights.extend(more.map(str::to_owned));
    }
    if function == "provision" {
        rights.extend(
            ["Decrypt", "GenerateDataKey"]
                .map(|it| format!("kms:{it} {KMS_KEY} through secretsmanager")),
        );
    }
    rights
}

#[test]
fn a_function_may_do_what_it_does_and_nothing_else() {
    holds(
        faults_of_functions,
        &[
            ("dynamodb:DeleteItem", |it| {
                statement(it, "SignFunction", 0)["Action"] =
                    json!(["dynamodb:UpdateItem", "dynamodb:DeleteItem"]);
            }),
            ("secretsmanager:GetSecretValue", |it| {
                drop(statements(it, "SignFunction").pop())
            }),
            ("FACT#*", |it| {
                statement(it, "RedirectFunction", 0)["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] =
                    json!(["CLAIM#*", "FACT#*"]);
            }),
            ("names no items", |it| {
                drop(statement(it, "WebhookFunction", 0)["Condition"].take())
            }),
            ("names no items", |it| {
                drop(
                    statement(it, "ChannelsFunction", 0)["Condition"]
                        .as_object_mut()
                        .expect("a condition")
                        .remove("Null"),
                );
            }),
            ("dynamodb:PutItem *", |it| {
                statement(it, "WebhookFunction", 0)["Resource"] = json!("*")
            }),
            ("Deny", |it| {
                statement(it, "WebhookFunction", 0)["Effect"] = json!("Deny")
            }),
            ("AdministratorAccess", |it| {
                it["Resources"]["SignFunctionRole"]["Properties"]["ManagedPolicyArns"] = json!([
                    ADDED[1],
                    ADDED[0],
                    "arn:aws:iam::aws:policy/AdministratorAccess"
                ]);
            }),
            ("a role of its own", |it| {
                it["Resources"]["SignFunction"]["Properties"]["Role"] =
                    json!("arn:aws:iam::111122223333:role/x");
            }),
        ],
    );
}

#[test]
fn what_sends_messages_may_read_the_keys_of_numbers_and_nothing_else() {
    holds(
        faults_of_readers,
        &[("360dialog/partners/", |it| {
            let policy = &mut it["Resources"]["ReadChannelKeys"]["Properties"]["PolicyDocument"];
            policy["Statement"][0]["Resource"]["Fn::Sub"] = json!(
                "arn:aws:secretsmanager:eu-central-1:111122223333:secret:${SecretPrefix}partners/*-??????"
            );
        })],
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
        if added != ADDED {
            faults.push(format!("{name}: {added:?}"));
        }
        let statements = list(&role["Policies"])
            .iter()
            .flat_map(|it| list(&it["PolicyDocument"]["Statement"]));
        let wanted = rights(
            &function,
            &deployed.properties(&name)["Environment"]["Variables"],
        );
        faults.extend(differences(
            &name,
            statements.flat_map(lines).collect(),
            wanted,
            deployed,
        ));
    }
    faults
}

fn faults_of_readers(deployed: &Deployment) -> Vec<String> {
    let statements = list(&deployed.properties("ReadChannelKeys")["PolicyDocument"]["Statement"]);
    let wanted = vec![
        format!("secretsmanager:GetSecretValue {KEYS}"),
        format!("kms:Decrypt {KMS_KEY} through secretsmanager"),
    ];
    differences(
        "ReadChannelKeys",
        statements.iter().flat_map(lines).collect(),
        wanted,
        deployed,
    )
}

/// What is granted or wanted, but not both. Where there is neither bus nor key of the partner's own, nobody has a right to them.
fn differences(
    who: &str,
    granted: Vec<String>,
    mut wanted: Vec<String>,
    deployed: &Deployment,
) -> Vec<String> {
    if !deployed.outputs.contains_key("EventBusName") {
        wanted.retain(|line| !line.contains(BUS) && !line.contains(KMS_KEY));
    }
    let missing = wanted
        .iter()
        .filter(|line| !granted.contains(line))
        .map(|line| format!("{who} may not {line}"));
    let extra = granted
        .iter()
        .filter(|line| !wanted.contains(line))
        .map(|line| format!("{who} may {line}"));
    missing.chain(extra).collect()
}

/// A statement, one line for every action.
fn lines(statement: &Value) -> Vec<String> {
    if statement["Effect"] != "Allow" || !statement["Resource"].is_string() {
        return vec![format!("no plain right: {statement}")];
    }
    let resource = texts(&statement["Resource"]).join(" ");
    let line = |action: String| {
        let is_on_items = action.starts_with("dynamodb:") && !OF_STREAMS.contains(&action.as_str());
        let condition = if is_on_items {
            items_of(&statement["Condition"])
        } else {
            service_of(&statement["Condition"])
        };
        match condition {
            Some(condition) => format!("{action} {resource} {condition}")
                .trim_end()
                .to_owned(),
            None => {
                format!("{action} {resource} but names no items, or what the test does not know")
            }
        }
    };
    texts(&statement["Action"]).into_iter().map(line).collect()
}

/// The keys of the items that a condition names, if it also demands that there are any.
fn items_of(condition: &Value) -> Option<String> {
    let keys = &condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
    let wanted = json!({
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys},
        "Null": {"dynamodb:LeadingKeys": "false"},
    });
    (*condition == wanted && !texts(keys).is_empty()).then(|| texts(keys).join(" "))
}

/// The service through which a key may be used; empty where there is no condition.
fn service_of(condition: &Value) -> Option<String> {
    let through =
        json!({"StringEquals": {"kms:ViaService": "secretsmanager.eu-central-1.amazonaws.com"}});
    if condition.is_null() {
        Some(String::new())
    } else {
        (*condition == through).then(|| "through secretsmanager".to_owned())
    }
}

#[test]
fn without_a_bus_and_a_key_of_ones_own_nobody_has_a_right_to_them() {
    let template = Template::here();
    let choice = REQUIRED.into_iter().chain(IAM).collect();
    let all = json!(template.deployed(&choice).resources).to_string();
    assert!(!all.contains("kms:") && !all.contains("events:PutEvents"));
    let choice = REQUIRED.into_iter().chain(IAM).chain(MORE).collect();
    let all = json!(template.deployed(&choice).resources).to_string();
    assert!(all.contains("kms:") && all.contains("events:PutEvents"));
    assert_eq!(
        entries(&template.0["Conditions"]).count(),
        5,
        "each is one that the choices of these tests decide"
    );
}

fn statements<'a>(template: &'a mut Value, function: &str) -> &'a mut Vec<Value> {
    let role = &mut template["Resources"][format!("{function}Role")]["Properties"];
    role["Policies"][0]["PolicyDocument"]["Statement"]
        .as_array_mut()
        .expect("statements")
}

fn statement<'a>(template: &'a mut Value, function: &str, index: usize) -> &'a mut Value {
    statements(template, function)
        .get_mut(index)
        .expect("a statement")
}
