//! What each function may do on AWS, and whether a call is within it. template.yaml grants exactly this, which the flow
//! tests hold it to; and what a function here asks for beyond it is refused, as IAM would.
//!
//! A right is a line: the action, the resource, and the patterns of the items' partition keys, if it is about items. Names
//! in angle brackets are the template's.

use std::collections::BTreeMap;

use runtime::aws::PARTNER_SECRET_PREFIX;
use serde_json::Value;
use store::table::{BY_DUE, BY_TENANT, prefix};

use super::calls::Service;

const TABLE: &str = "<Table.Arn>";
const SECRET: &str = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:";
const BUS: &str = "arn:aws:events:eu-central-1:111122223333:event-bus/";

/// What a deployment calls things.
#[derive(Clone, Debug)]
pub struct Names {
    /// The partner ids.
    pub partners: Vec<String>,
    /// How the names of partner secrets start.
    pub partner_prefix: String,
    /// How the names of the numbers' keys start.
    pub channel_prefix: String,
    /// The event bus.
    pub bus: Option<String>,
}

impl Names {
    /// Those of a function's environment.
    pub fn of(environment: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let or = |name: &str, default: &str| {
            text(name).map_or_else(|| default.to_owned(), String::clone)
        };
        Self {
            partners: or("PARTNER_IDS", "")
                .split(',')
                .map(|id| id.trim().to_owned())
                .collect(),
            partner_prefix: or("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX),
            channel_prefix: or("CHANNEL_SECRET_PREFIX", "360dialog/channels/"),
            bus: text("EVENT_BUS_NAME").cloned(),
        }
    }

    /// The rights of a function, but for those that Lambda itself uses.
    pub fn rights(&self, function: &str) -> Vec<String> {
        let read_secret = || {
            format!(
                "secretsmanager:GetSecretValue {SECRET}{}*-??????",
                self.partner_prefix
            )
        };
        match function {
            "sign" => vec![items("UpdateItem", &[prefix::SECOND]), read_secret()],
            "redirect" => vec![items("PutItem", &[prefix::CLAIM]), read_secret()],
            "webhook" => vec![
                items("PutItem", &[prefix::FACT, prefix::RAW]),
                read_secret(),
            ],
            "channels" => vec![
                items("GetItem", &[prefix::CHANNEL]),
                items("BatchGetItem", &[prefix::CHANNEL]),
                indexed(
                    BY_TENANT,
                    &self.partners.iter().map(String::as_str).collect::<Vec<_>>(),
                ),
            ],
            "reconcile" => vec![
                indexed(BY_DUE, &[prefix::DUE]),
                items("PutItem", &[prefix::WAKE]),
            ],
            "fold" => self.fold(),
            "provision" => self
                .provision()
                .into_iter()
                .chain([read_secret()])
                .collect(),
            _ => vec![format!("nobody knows {function}")],
        }
    }

    fn fold(&self) -> Vec<String> {
        let bus = self.bus.iter();
        let publish = bus.map(|bus| format!("events:PutEvents {BUS}{bus}"));
        let mut rights = vec![
            items("GetItem", &[prefix::CHANNEL]),
            items("PutItem", &[prefix::CHANNEL]),
            items("PutItem", &[prefix::OUTBOX]),
            items("Query", &[prefix::OUTBOX]),
            items("DeleteItem", &[prefix::OUTBOX]),
            items("PutItem", &[prefix::DEAD]),
        ];
        rights.extend(publish);
        rights
    }

    fn provision(&self) -> Vec<String> {
        let keep = [
            "CreateSecret",
            "GetSecretValue",
            "PutSecretValue",
            "UpdateSecretVersionStage",
        ];
        let keep =
            keep.map(|action| format!("secretsmanager:{action} {SECRET}{}*", self.channel_prefix));
        let mut rights = vec![
            items("PutItem", &[prefix::FACT]),
            items("GetItem", &[prefix::CHANNEL]),
            items("GetItem", &[prefix::CLAIM]),
            items("PutItem", &[prefix::CLAIM]),
            items("GetItem", &[prefix::CLIENT]),
            items("UpdateItem", &[prefix::CLIENT]),
            items("UpdateItem", &[prefix::MINT]),
        ];
        rights.extend(keep);
        rights
    }
}

/// The right to do `action` with items of `kinds`.
fn items(action: &str, kinds: &[&str]) -> String {
    format!("dynamodb:{action} {TABLE} {}", patterns(kinds))
}

/// The right to query an index for partitions that start with one of `starts`.
fn indexed(index: &str, starts: &[&str]) -> String {
    format!("dynamodb:Query {TABLE}/index/{index} {}", patterns(starts))
}

fn patterns(starts: &[&str]) -> String {
    starts
        .iter()
        .map(|start| format!("{start}#*"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether `rights` allow a call; the error says what was asked for.
pub(super) fn check(
    rights: &[String],
    service: Service,
    action: &str,
    body: &[u8],
) -> Result<(), String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked = Asked::of(service, action, &body)
        .ok_or_else(|| format!("{service:?} {action}, which is not known"))?;
    if rights.iter().any(|right| asked.is_within(right)) {
        Ok(())
    } else {
        Err(format!("{asked:?}"))
    }
}

/// What a call asks for, as IAM sees it.
#[derive(Debug)]
struct Asked {
    action: String,
    resource: String,
    keys: Vec<String>,
}

impl Asked {
    fn of(service: Service, action: &str, body: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (action, resource, keys) = match service {
            Service::DynamoDb => {
                let index = body["IndexName"]
                    .as_str()
                    .map(|index| format!("/index/{index}"))
                    .unwrap_or_default();
                (
                    format!("dynamodb:{action}"),
                    format!("{TABLE}{index}"),
                    keys(action, body)?,
                )
            }
            Service::SecretsManager => {
                // A secret that is there has six characters behind its name.
                let made = text(&body["SecretId"]).map(|name| format!("{name}-AbCdEf"));
                let name = made.or_else(|| text(&body["Name"]))?;
                (
                    format!("secretsmanager:{action}"),
                    format!("{SECRET}{name}"),
                    Vec::new(),
                )
            }
            Service::EventBridge => {
                let bus = text(&body["Entries"][0]["EventBusName"])?;
                (
                    format!("events:{action}"),
                    format!("{BUS}{bus}"),
                    Vec::new(),
                )
            }
            Service::Streams => return None,
        };
        Some(Self {
            action,
            resource,
            keys,
        })
    }

    fn is_within(&self, right: &str) -> bool {
        let mut words = right.split(' ');
        let (action, resource) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let patterns: Vec<&str> = words.collect();
        self.action == action
            && fits(resource, &self.resource)
            && self.keys.is_empty() == patterns.is_empty()
            && self
                .keys
                .iter()
                .all(|key| patterns.iter().any(|pattern| fits(pattern, key)))
    }
}

/// The partition keys a call names: what `dynamodb:LeadingKeys` holds.
fn keys(action: &str, body: &Value) -> Option<Vec<String>> {
    let pk = |item: &Value| item["pk"]["S"].as_str().map(str::to_owned);
    match action {
        "PutItem" => Some(vec![pk(&body["Item"])?]),
        "GetItem" | "UpdateItem" | "DeleteItem" => Some(vec![pk(&body["Key"])?]),
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object()?.values();
            tables
                .flat_map(|table| table["Keys"].as_array().into_iter().flatten())
                .map(pk)
                .collect()
        }
        "Query" => {
            // "tenant_pk = :tenant AND …"
            let value = body["KeyConditionExpression"]
                .as_str()?
                .split_whitespace()
                .nth(2)?;
            Some(vec![
                body["ExpressionAttributeValues"][value]["S"]
                    .as_str()?
                    .to_owned(),
            ])
        }
        _ => None,
    }
}

/// Whether a text fits a pattern of IAM: `*` is anything, `?` one character.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|end| fits(rest.as_str(), end)))
        }
        Some(wanted) => {
            let mut text = text.chars();
            text.next().is_some_and(|c| wanted == '?' || wanted == c)
                && fits(rest.as_str(), text.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn may(function: &str, service: Service, action: &str, body: &Value) -> bool {
        let environment = [("PARTNER_IDS", "aPA, bPA"), ("EVENT_BUS_NAME", "bus")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let rights = Names::of(&environment.into()).rights(function);
        check(&rights, service, action, body.to_string().as_bytes()).is_ok()
    }

    #[test]
    fn a_function_may_touch_its_own_kinds_of_items_only() {
        let put = |pk: &str| json!({"TableName": "t", "Item": {"pk": {"S": pk}}});
        assert!(may(
            "webhook",
            Service::DynamoDb,
            "PutItem",
            &put("FACT#aPA#xCH")
        ));
        assert!(!may(
            "webhook",
            Service::DynamoDb,
            "PutItem",
            &put("CLAIM#aPA#1")
        ));
        assert!(!may(
            "webhook",
            Service::DynamoDb,
            "PutItem",
            &put("FACTS#aPA#1")
        ));
        assert!(!may(
            "webhook",
            Service::DynamoDb,
            "DeleteItem",
            &json!({"Key": {"pk": {"S": "FACT#aPA#xCH"}}})
        ));
        assert!(!may(
            "webhook",
            Service::DynamoDb,
            "Scan",
            &json!({"TableName": "t"})
        ));
        let batch = |pks: [&str; 2]| json!({"RequestItems": {"t": {"Keys": pks.map(|pk| json!({"pk": {"S": pk}}))}}});
        assert!(may(
            "channels",
            Service::DynamoDb,
            "BatchGetItem",
            &batch(["CHANNEL#aPA#x", "CHANNEL#bPA#y"])
        ));
        assert!(!may(
            "channels",
            Service::DynamoDb,
            "BatchGetItem",
            &batch(["CHANNEL#aPA#x", "FACT#aPA#x"])
        ));
    }

    #[test]
    fn an_index_is_asked_for_partners_that_are_served_only() {
        let query = |index: &str, value: &str| {
            json!({
                "IndexName": index,
                "KeyConditionExpression": "tenant_pk = :tenant AND tenant_sk > :after",
                "ExpressionAttributeValues": {":tenant": {"S": value}, ":after": {"S": " "}},
            })
        };
        assert!(may(
            "channels",
            Service::DynamoDb,
            "Query",
            &query("by_tenant", "bPA#acme#x")
        ));
        assert!(!may(
            "channels",
            Service::DynamoDb,
            "Query",
            &query("by_tenant", "cPA#acme")
        ));
        assert!(!may(
            "channels",
            Service::DynamoDb,
            "Query",
            &query("by_due", "bPA#acme")
        ));
    }

    #[test]
    fn only_provision_touches_keys_and_only_fold_the_bus() {
        let secret = |name: &str| json!({"SecretId": name});
        for function in ["sign", "provision", "fold"] {
            assert_eq!(
                may(
                    function,
                    Service::SecretsManager,
                    "GetSecretValue",
                    &secret("360dialog/partners/aPA")
                ),
                function != "fold"
            );
            let own = function == "provision";
            let key = secret("360dialog/channels/aPA/xCH");
            assert_eq!(
                may(function, Service::SecretsManager, "GetSecretValue", &key),
                own
            );
            let new = json!({"Name": "360dialog/channels/aPA/xCH"});
            assert_eq!(
                may(function, Service::SecretsManager, "CreateSecret", &new),
                own
            );
            let event = json!({"Entries": [{"EventBusName": "bus"}]});
            assert_eq!(
                may(function, Service::EventBridge, "PutEvents", &event),
                function == "fold"
            );
        }
        let other = json!({"Entries": [{"EventBusName": "default"}]});
        assert!(!may("fold", Service::EventBridge, "PutEvents", &other));
        assert!(!may(
            "provision",
            Service::SecretsManager,
            "DeleteSecret",
            &secret("360dialog/channels/aPA/xCH")
        ));
    }
}
