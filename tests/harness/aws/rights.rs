//! What each function may do on AWS, and whether a call is within it. template.yaml grants exactly this, which the flow
//! tests hold it to; and what a function here asks for beyond it is refused, as IAM would.
//!
//! A right is a line: the action, the resource, and the patterns of the items' partition keys, if it is about items. Names
//! in angle brackets are the template's.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use embedded::settings::BODIES_TABLE;
use runtime::aws::PARTNER_SECRET_PREFIX;
use serde_json::Value;
use store::table::{BY_DUE, BY_TENANT, prefix};

use super::calls::Service;

/// The kinds of items that `provision` alone reads and updates.
const LEASED: [&str; 4] = [prefix::KEY, prefix::WORK, prefix::SWEEP, prefix::HOOK];

const TABLE: &str = "<Table.Arn>";
const BODIES: &str = "<Bodies.Arn>";
const SECRET: &str = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:";
const BUS: &str = "arn:aws:events:eu-central-1:111122223333:event-bus/";

/// What a deployment calls things.
#[derive(Clone, Debug)]
pub struct Names {
    /// The partner ids.
    pub partners: Vec<String>,
    /// How the names of partner secrets start.
    pub partner_prefix: String,
    /// The KMS key that seals the numbers' keys.
    pub sealing_key: String,
    /// Whether messaging webhooks are set, with the numbers' keys.
    pub sets_webhooks: bool,
    /// The event bus.
    pub bus: Option<String>,
}

impl Names {
    /// Those of a function's environment.
    pub fn of(environment: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let or = |name: &str, default: &str| text(name).map_or(default, String::as_str).to_owned();
        let partners = or("PARTNER_IDS", "");
        Self {
            partners: partners.split(',').map(|id| id.trim().to_owned()).collect(),
            partner_prefix: or("PARTNER_SECRET_PREFIX", PARTNER_SECRET_PREFIX),
            sealing_key: or("KEY_ENCRYPTION_KEY", ""),
            sets_webhooks: text("MESSAGING_WEBHOOK_URL").is_some(),
            bus: text("EVENT_BUS_NAME").cloned(),
        }
    }

    /// The rights of a function, but for those that Lambda itself uses.
    pub fn rights(&self, function: &str) -> Vec<String> {
        let partner_secrets = format!("{}*-??????", self.partner_prefix);
        let read_secret = format!("secretsmanager:GetSecretValue {SECRET}{partner_secrets}");
        match function {
            "sign" => vec![items("UpdateItem", &[prefix::SECOND]), read_secret],
            "redirect" => vec![items("PutItem", &[prefix::CLAIM]), read_secret],
            "webhook" => vec![
                items("PutItem", &[prefix::FACT, prefix::RAW]),
                bodies("PutItem"),
                read_secret,
            ],
            "channels" => vec![
                items("GetItem", &[prefix::CHANNEL]),
                items("BatchGetItem", &[prefix::CHANNEL, prefix::CLAIMED]),
                indexed(BY_TENANT, &self.partners),
            ],
            "fold" => self.fold(),
            "provision" => [self.provision(), vec![read_secret]].concat(),
            _ => vec![format!("nobody knows {function}")],
        }
    }

    fn fold(&self) -> Vec<String> {
        let mut rights = vec![
            items("GetItem", &[prefix::CHANNEL]),
            items("PutItem", &[prefix::CHANNEL]),
            items("Query", &[prefix::FACT]),
            items("UpdateItem", &[prefix::REFOLD]),
            items("DeleteItem", &[prefix::REFOLD]),
            indexed(BY_DUE, &[prefix::REFOLD]),
            items("PutItem", &[prefix::OUTBOX]),
            items("Query", &[prefix::OUTBOX]),
            items("DeleteItem", &[prefix::OUTBOX]),
            items("PutItem", &[prefix::DEAD]),
            items("PutItem", &[prefix::HEARTBEAT]),
            bodies("GetItem"),
        ];
        let bus = self.bus.iter();
        rights.extend(bus.map(|bus| format!("events:PutEvents {BUS}{bus}")));
        rights
    }

    fn provision(&self) -> Vec<String> {
        let open = format!("kms:Decrypt {}", self.sealing_key);
        let open = self.sets_webhooks.then_some(open);
        let rights = vec![
            items("PutItem", &[prefix::FACT]),
            items("GetItem", &[prefix::CHANNEL]),
            items("GetItem", &[prefix::CLAIM]),
            items("BatchGetItem", &[prefix::CLAIM]),
            items("PutItem", &[prefix::CLAIM]),
            items("PutItem", &[prefix::CLAIMED]),
            items("DeleteItem", &[prefix::CLAIMED]),
            items("Query", &[prefix::CLAIMED]),
            items("GetItem", &[prefix::CLIENT]),
            items("UpdateItem", &[prefix::CLIENT]),
            items("PutItem", &[prefix::CLIENT]),
            items("DeleteItem", &[prefix::CLIENT]),
            items("Query", &[prefix::CLIENT]),
            items("GetItem", &LEASED),
            items("UpdateItem", &LEASED),
            items("UpdateItem", &[prefix::PACE]),
            indexed(BY_DUE, &[prefix::DUE]),
            format!("kms:Encrypt {}", self.sealing_key),
        ];
        rights.into_iter().chain(open).collect()
    }
}

/// The right to do `action` with items of `kinds`.
fn items(action: &str, kinds: &[&str]) -> String {
    format!("dynamodb:{action} {TABLE} {}", patterns(kinds))
}

/// The right to do `action` with large bodies.
fn bodies(action: &str) -> String {
    format!("dynamodb:{action} {BODIES} {}", patterns(&[prefix::BODY]))
}

/// The right to query an index for partitions that start with one of `starts`.
fn indexed(index: &str, starts: &[impl AsRef<str>]) -> String {
    format!("dynamodb:Query {TABLE}/index/{index} {}", patterns(starts))
}

fn patterns(starts: &[impl AsRef<str>]) -> String {
    let patterns = starts.iter().map(|start| format!("{}#*", start.as_ref()));
    patterns.collect::<Vec<_>>().join(" ")
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
        let (service, resource, keys) = match service {
            Service::DynamoDb => {
                let index = text(&body["IndexName"]).map(|index| format!("/index/{index}"));
                let table = match body["TableName"].as_str() {
                    Some(BODIES_TABLE) => BODIES,
                    _ => TABLE,
                };
                let resource = format!("{table}{}", index.unwrap_or_default());
                ("dynamodb", resource, keys(action, body)?)
            }
            Service::SecretsManager => {
                // A secret that is there has six characters behind its name.
                let made = text(&body["SecretId"]).map(|name| format!("{name}-AbCdEf"));
                let name = made.or_else(|| text(&body["Name"]))?;
                ("secretsmanager", format!("{SECRET}{name}"), Vec::new())
            }
            Service::EventBridge => {
                let bus = text(&body["Entries"][0]["EventBusName"])?;
                ("events", format!("{BUS}{bus}"), Vec::new())
            }
            Service::Kms => {
                let key = text(&body["KeyId"]).or_else(|| sealed_with(body))?;
                ("kms", key, Vec::new())
            }
            Service::Streams | Service::CloudFormation => return None,
        };
        Some(Self {
            action: format!("{service}:{action}"),
            resource,
            keys,
        })
    }

    fn is_within(&self, right: &str) -> bool {
        let words: Vec<&str> = right.split(' ').collect();
        let [action, resource, patterns @ ..] = words.as_slice() else {
            return false;
        };
        let is_fine = |key: &String| patterns.iter().any(|pattern| fits(pattern, key));
        // A sealed text names its key without region and account.
        let is_its_key = self.action == "kms:Decrypt" && resource.ends_with(&self.resource);
        self.action == *action
            && (fits(resource, &self.resource) || is_its_key)
            && self.keys.is_empty() == patterns.is_empty()
            && self.keys.iter().all(is_fine)
    }
}

/// The end of the ARN of the key that sealed what is to be opened: moto begins the text with the key's id.
fn sealed_with(body: &Value) -> Option<String> {
    let sealed = BASE64
        .decode(body["CiphertextBlob"].as_str()?.as_bytes())
        .ok()?;
    let id = std::str::from_utf8(sealed.get(..36)?).ok()?;
    Some(format!(":key/{id}"))
}

/// The partition keys a call names: what `dynamodb:LeadingKeys` holds.
fn keys(action: &str, body: &Value) -> Option<Vec<String>> {
    let pk = |item: &Value| item["pk"]["S"].as_str().map(str::to_owned);
    match action {
        "PutItem" => Some(vec![pk(&body["Item"])?]),
        "GetItem" | "UpdateItem" | "DeleteItem" => Some(vec![pk(&body["Key"])?]),
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object()?.values();
            let keys = tables.filter_map(|table| table["Keys"].as_array());
            keys.flatten().map(pk).collect()
        }
        "Query" => {
            // "tenant_pk = :tenant AND …"
            let mut condition = body["KeyConditionExpression"].as_str()?.split_whitespace();
            let value = &body["ExpressionAttributeValues"][condition.nth(2)?]["S"];
            Some(vec![value.as_str()?.to_owned()])
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

    #[test]
    fn a_function_may_do_what_is_its_own_and_nothing_else() {
        let put = |pk: &str| json!({"TableName": "t", "Item": {"pk": {"S": pk}}});
        let query = |index: &str, value: &str| {
            json!({
                "IndexName": index,
                "KeyConditionExpression": "tenant_pk = :tenant AND tenant_sk > :after",
                "ExpressionAttributeValues": {":tenant": {"S": value}},
            })
        };
        let keys = ["CHANNEL#aPA#x", "FACT#aPA#x"].map(|pk| json!({"pk": {"S": pk}}));
        let mixed = json!({"RequestItems": {"t": {"Keys": keys}}});
        let secret = json!({"SecretId": "360dialog/partners/aPA"});
        let with = |key: &str| json!({"KeyId": key});
        let key_id = "3ad0b9f6-0d09-4d1e-a0c9-7e6f9a6f0001";
        let sealed = json!({"CiphertextBlob": BASE64.encode(key_id.as_bytes())});
        let event = |bus: &str| json!({"Entries": [{"EventBusName": bus}]});
        for (function, call, body, may) in [
            ("webhook", "PutItem", put("FACT#aPA#xCH"), true),
            ("webhook", "PutItem", put("FACTS#aPA#1"), false),
            ("webhook", "PutItem", put("BODY#aPA#1#0"), false),
            ("webhook", "Scan", json!({"TableName": "t"}), false),
            ("channels", "BatchGetItem", mixed, false),
            ("channels", "Query", query("by_tenant", "bPA#acme#x"), true),
            ("channels", "Query", query("by_tenant", "cPA#acme"), false),
            ("channels", "Query", query("by_due", "bPA#acme"), false),
            ("sign", "Encrypt", with("k"), false),
            ("fold", "GetSecretValue", secret.clone(), false),
            ("provision", "GetSecretValue", secret.clone(), true),
            ("provision", "PutSecretValue", secret, false),
            ("provision", "Encrypt", with("k"), true),
            ("provision", "Encrypt", with("j"), false),
            ("provision", "Decrypt", sealed.clone(), false),
            ("provision", "PutEvents", event("bus"), false),
            ("fold", "PutEvents", event("bus"), true),
            ("fold", "PutEvents", event("default"), false),
        ] {
            let names = [
                ("PARTNER_IDS", "aPA, bPA"),
                ("EVENT_BUS_NAME", "bus"),
                ("KEY_ENCRYPTION_KEY", "k"),
            ];
            let rights = Names::of(&crate::owned(&names)).rights(function);
            let service = match call {
                "PutEvents" => Service::EventBridge,
                call if call.contains("Secret") => Service::SecretsManager,
                call if call.ends_with("crypt") => Service::Kms,
                _ => Service::DynamoDb,
            };
            let checked = check(&rights, service, call, body.to_string().as_bytes());
            assert_eq!(checked.is_ok(), may, "{function} {call} {body}");
        }
        // Only to set webhooks, and only what its own key has sealed.
        for (key, may) in [(key_id, true), ("another", false)] {
            let key = format!("arn:aws:kms:eu-central-1:111122223333:key/{key}");
            let names = [
                ("KEY_ENCRYPTION_KEY", key.as_str()),
                ("MESSAGING_WEBHOOK_URL", "https://a.example"),
            ];
            let rights = Names::of(&crate::owned(&names)).rights("provision");
            let body = sealed.to_string();
            let checked = check(&rights, Service::Kms, "Decrypt", body.as_bytes());
            assert_eq!(checked.is_ok(), may, "{key}");
        }
    }
}
