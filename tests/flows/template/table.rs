//! The table on AWS, against the one that is created on one machine.

use aws_sdk_dynamodb::types::{AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement};
use serde_json::{Value, json};
use store::table::{EXPIRES_AT, Table};

use super::evaluate::Deployment;
use super::{entries, holds, list};

#[test]
fn the_table_is_the_one_the_code_creates() {
    holds(
        shape,
        &[
            ("KeySchema", |it| {
                drop(table(it)["KeySchema"].as_array_mut().expect("keys").pop())
            }),
            ("AttributeDefinitions", |it| {
                table(it)["AttributeDefinitions"][5]["AttributeType"] = json!("S")
            }),
            ("GlobalSecondaryIndexes", |it| {
                table(it)["GlobalSecondaryIndexes"][0]["IndexName"] = json!("by_name")
            }),
            ("GlobalSecondaryIndexes", |it| {
                table(it)["GlobalSecondaryIndexes"][1]["Projection"]["ProjectionType"] =
                    json!("ALL");
            }),
            ("StreamSpecification", |it| {
                table(it)["StreamSpecification"]["StreamViewType"] = json!("NEW_IMAGE")
            }),
            ("TimeToLiveSpecification", |it| {
                table(it)["TimeToLiveSpecification"]["AttributeName"] = json!("ttl")
            }),
            ("BillingMode", |it| {
                table(it)["BillingMode"] = json!("PROVISIONED")
            }),
        ],
    );
}

#[test]
fn the_table_outlives_the_stack_and_its_cost_is_bounded() {
    holds(
        keeping,
        &[
            ("DeletionPolicy", |it| {
                it["Resources"]["Table"]["DeletionPolicy"] = json!("Delete")
            }),
            ("DeletionProtectionEnabled", |it| {
                table(it)["DeletionProtectionEnabled"] = json!(false)
            }),
            ("PointInTimeRecovery", |it| {
                drop(table(it)["PointInTimeRecoverySpecification"].take())
            }),
            ("by_due", |it| {
                drop(table(it)["GlobalSecondaryIndexes"][1]["OnDemandThroughput"].take())
            }),
            ("name of its own", |it| {
                table(it)["TableName"] = json!("onboarding")
            }),
        ],
    );
}

fn shape(deployed: &Deployment) -> Vec<String> {
    let mut there = deployed.properties("Table").clone();
    for index in there["GlobalSecondaryIndexes"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        index
            .as_object_mut()
            .expect("an index")
            .remove("OnDemandThroughput");
    }
    let wanted = of_the_code();
    let different = entries(&wanted).filter(|(name, wanted)| there[*name] != **wanted);
    different
        .map(|(name, wanted)| format!("{name}: {} and not {wanted}", there[name]))
        .collect()
}

/// What the code creates, in CloudFormation's words.
fn of_the_code() -> Value {
    let shape = Table::shape().expect("a shape");
    let attribute = |it: &AttributeDefinition| json!({"AttributeName": it.attribute_name(), "AttributeType": it.attribute_type().as_str()});
    let index = |it: &GlobalSecondaryIndex| {
        let projection = it
            .projection()
            .and_then(|projection| projection.projection_type())
            .expect("a projection");
        json!({
            "IndexName": it.index_name(),
            "KeySchema": keys(it.key_schema()),
            "Projection": {"ProjectionType": projection.as_str()},
        })
    };
    let stream = shape.get_stream_specification().as_ref().expect("a stream");
    json!({
        "AttributeDefinitions":
            shape.get_attribute_definitions().iter().flatten().map(attribute).collect::<Vec<_>>(),
        "BillingMode": shape.get_billing_mode().as_ref().expect("a mode").as_str(),
        "GlobalSecondaryIndexes":
            shape.get_global_secondary_indexes().iter().flatten().map(index).collect::<Vec<_>>(),
        "KeySchema": keys(shape.get_key_schema().as_deref().unwrap_or_default()),
        "StreamSpecification": {"StreamViewType": stream.stream_view_type().expect("images").as_str()},
        "TimeToLiveSpecification": {"AttributeName": EXPIRES_AT, "Enabled": true},
    })
}

fn keys(keys: &[KeySchemaElement]) -> Value {
    let key = |it: &KeySchemaElement| json!({"AttributeName": it.attribute_name(), "KeyType": it.key_type().as_str()});
    keys.iter().map(key).collect()
}

fn keeping(deployed: &Deployment) -> Vec<String> {
    let resource = &deployed.resources["Table"];
    let table = &resource["Properties"];
    let is_bounded = |it: &Value| {
        let most = &it["OnDemandThroughput"];
        !most["MaxReadRequestUnits"].is_null() && !most["MaxWriteRequestUnits"].is_null()
    };
    let indexes = list(&table["GlobalSecondaryIndexes"]);
    let unbounded = indexes
        .iter()
        .filter(|it| !is_bounded(it))
        .map(|it| format!("{} is unbounded", it["IndexName"]));
    let mut faults: Vec<String> = unbounded.collect();
    let wants = [
        ("DeletionPolicy", resource["DeletionPolicy"] == "Retain"),
        (
            "UpdateReplacePolicy",
            resource["UpdateReplacePolicy"] == "Retain",
        ),
        (
            "DeletionProtectionEnabled",
            table["DeletionProtectionEnabled"] == json!(true),
        ),
        (
            "PointInTimeRecovery",
            table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == json!(true),
        ),
        ("OnDemandThroughput", is_bounded(table)),
        // A table that was kept would stand in the way of the next stack's.
        ("a name of its own", table["TableName"].is_null()),
    ];
    faults.extend(
        wants
            .iter()
            .filter(|(_, is_so)| !is_so)
            .map(|(name, _)| (*name).to_owned()),
    );
    faults
}

fn table(template: &mut Value) -> &mut Value {
    &mut template["Resources"]["Table"]["Properties"]
}
