//! The table on AWS, against the one that is created on one machine.

use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
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
            r#"Table/Properties/GlobalSecondaryIndexes/0/IndexName = "by_name" → GlobalSecondaryIndexes"#,
            r#"Table/Properties/TimeToLiveSpecification/AttributeName = "ttl" → TimeToLiveSpecification"#,
        ],
    );
}

#[test]
fn the_table_outlives_a_stack_that_stood_and_its_cost_is_bounded() {
    holds(
        keeping,
        &[
            r#"Table/DeletionPolicy = "Retain" → DeletionPolicy"#,
            "Table/Properties/DeletionProtectionEnabled = true → DeletionProtectionEnabled",
            "Table/Properties/PointInTimeRecoverySpecification = null → PointInTimeRecovery",
            "Table/Properties/GlobalSecondaryIndexes/1/OnDemandThroughput = null → by_due",
            r#"Table/Properties/TableName = "onboarding" → name of its own"#,
        ],
    );
}

/// Chats are personal data: nothing copies them, and nothing keeps them.
#[test]
fn the_table_of_bodies_is_the_one_the_code_creates_without_stream_and_recovery_and_goes_with_the_stack()
 {
    holds(
        bodies,
        &[
            r#"Bodies/Properties/KeySchema/0/AttributeName = "id" → KeySchema"#,
            r#"Bodies/Properties/TimeToLiveSpecification = null → TimeToLiveSpecification"#,
            r#"Bodies/Properties/StreamSpecification = {"StreamViewType": "KEYS_ONLY"} → StreamSpecification"#,
            r#"Bodies/Properties/PointInTimeRecoverySpecification = {"PointInTimeRecoveryEnabled": true} → PointInTimeRecoverySpecification"#,
            r#"Bodies/DeletionPolicy = "Retain" → DeletionPolicy"#,
            "Bodies/Properties/OnDemandThroughput = null → OnDemandThroughput",
        ],
    );
}

fn bodies(deployed: &Deployment) -> Vec<String> {
    let resource = &deployed.resources["Bodies"];
    let there = &resource["Properties"];
    let mut wanted = of_the_code(&Table::shape_for_bodies());
    wanted["PointInTimeRecoverySpecification"] = Value::Null;
    wanted["TableName"] = Value::Null;
    let mut faults = differences(there, &wanted);
    let policies = ["DeletionPolicy", "UpdateReplacePolicy"];
    let kept = policies.iter().filter(|it| resource[**it] != "Delete");
    faults.extend(kept.map(|it| (*it).to_owned()));
    if there["OnDemandThroughput"].is_null() {
        faults.push("OnDemandThroughput".to_owned());
    }
    faults
}

fn shape(deployed: &Deployment) -> Vec<String> {
    let mut there = deployed.properties("Table").clone();
    let indexes = there["GlobalSecondaryIndexes"].as_array_mut();
    for index in indexes.into_iter().flatten() {
        let index = index.as_object_mut().expect("an index");
        index.remove("OnDemandThroughput");
    }
    let shape = Table::shape().expect("a shape");
    differences(&there, &of_the_code(&shape))
}

fn differences(there: &Value, wanted: &Value) -> Vec<String> {
    let different = entries(wanted).filter(|(name, wanted)| there[*name] != **wanted);
    let words = different.map(|(name, wanted)| format!("{name}: {} and not {wanted}", there[name]));
    words.collect()
}

/// What the code creates, in CloudFormation's words.
fn of_the_code(shape: &CreateTableInputBuilder) -> Value {
    let attribute = |it: &AttributeDefinition| {
        let kind = it.attribute_type().as_str();
        json!({"AttributeName": it.attribute_name(), "AttributeType": kind})
    };
    let index = |it: &GlobalSecondaryIndex| {
        let projection = it.projection().and_then(|it| it.projection_type());
        let projection = projection.expect("a projection").as_str();
        json!({
            "IndexName": it.index_name(),
            "KeySchema": keys(it.key_schema()),
            "Projection": {"ProjectionType": projection},
        })
    };
    let attributes = shape.get_attribute_definitions().iter().flatten();
    let indexes = shape.get_global_secondary_indexes().iter().flatten();
    let stream = shape.get_stream_specification().as_ref();
    let images = stream.and_then(|stream| stream.stream_view_type());
    let stream = images.map(|images| json!({"StreamViewType": images.as_str()}));
    let has_indexes = shape.get_global_secondary_indexes().is_some();
    let indexes: Vec<Value> = indexes.map(index).collect();
    json!({
        "AttributeDefinitions": attributes.map(attribute).collect::<Vec<_>>(),
        "BillingMode": shape.get_billing_mode().as_ref().expect("a mode").as_str(),
        "GlobalSecondaryIndexes": has_indexes.then_some(indexes),
        "KeySchema": keys(shape.get_key_schema().as_deref().unwrap_or_default()),
        "StreamSpecification": stream,
        "TimeToLiveSpecification": {"AttributeName": EXPIRES_AT, "Enabled": true},
    })
}

fn keys(keys: &[KeySchemaElement]) -> Value {
    let key = |it: &KeySchemaElement| {
        let kind = it.key_type().as_str();
        json!({"AttributeName": it.attribute_name(), "KeyType": kind})
    };
    keys.iter().map(key).collect()
}

fn keeping(deployed: &Deployment) -> Vec<String> {
    let resource = &deployed.resources["Table"];
    let table = &resource["Properties"];
    let recovery = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
    let is_bounded = |it: &Value| {
        let most = &it["OnDemandThroughput"];
        !most["MaxReadRequestUnits"].is_null() && !most["MaxWriteRequestUnits"].is_null()
    };
    let is_deleted = resource["DeletionPolicy"] != "RetainExceptOnCreate";
    let is_replaced = resource["UpdateReplacePolicy"] != "Retain";
    let mut faults = Vec::new();
    for (what, is_so) in [
        ("DeletionPolicy", !is_deleted),
        ("UpdateReplacePolicy", !is_replaced),
        // Else it would outlive a first deployment that failed. `operator connect` switches it on.
        (
            "DeletionProtectionEnabled",
            table["DeletionProtectionEnabled"].is_null(),
        ),
        ("PointInTimeRecovery", *recovery == true),
        ("OnDemandThroughput", is_bounded(table)),
        // A table that was kept would stand in the way of the next stack's.
        ("a name of its own", table["TableName"].is_null()),
    ] {
        if !is_so {
            faults.push(what.to_owned());
        }
    }
    let indexes = list(&table["GlobalSecondaryIndexes"]).iter();
    let unbounded = indexes.filter(|it| !is_bounded(it));
    faults.extend(unbounded.map(|it| format!("{} is unbounded", it["IndexName"])));
    faults
}
