//! CloudFormation's functions and conditions, as far as the template uses them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tests::text;

use super::{entries, list};

/// The template with parameters, conditions and functions worked out. A reference to a resource is `<Name>`, to an
/// attribute `<Name.Attribute>`; that there is such a one, `cfn-lint` sees to.
pub(crate) struct Deployment {
    /// Its resources, those without their condition left out.
    pub(crate) resources: BTreeMap<String, Value>,
    /// Its outputs, by the same rule.
    pub(crate) outputs: BTreeMap<String, Value>,
    /// What rules say against the choice.
    pub(crate) refused: Vec<String>,
}

impl Deployment {
    /// The stack `stack`.
    pub(crate) fn named(stack: &str, template: &Value, choice: &[(&str, &str)]) -> Self {
        let parameters = parameters(&template["Parameters"], choice);
        let stack = Stack {
            name: stack,
            template,
            parameters,
        };
        let part = |name: &str| {
            let there = entries(&template[name]).filter(|(_, it)| stack.has(&it["Condition"]));
            let there = there.filter_map(|(name, it)| Some((name.to_owned(), stack.evaluate(it)?)));
            there.collect()
        };
        Self {
            resources: part("Resources"),
            outputs: part("Outputs"),
            refused: stack.refused(),
        }
    }

    /// The resources of a type, by name.
    pub(crate) fn of_type<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let of_type = self
            .resources
            .iter()
            .filter(move |(_, it)| it["Type"] == kind);
        of_type.map(|(name, resource)| (name.as_str(), &resource["Properties"]))
    }

    /// The properties of a resource; `Null` if it is not there.
    pub(crate) fn properties(&self, name: &str) -> &Value {
        let resource = self.resources.get(name);
        resource.map_or(&Value::Null, |resource| &resource["Properties"])
    }

    /// What a function is told.
    pub(crate) fn variables(&self, function: &str) -> BTreeMap<String, String> {
        let variables = &self.properties(function)["Environment"]["Variables"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let variables = entries(variables).map(|(name, value)| (name.to_owned(), text(value)));
        variables.collect()
    }
}

/// The value of each parameter: the chosen one, else the default; one that has neither is left out.
fn parameters(declared: &Value, choice: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let value = |name: &str, declared: &Value| {
        let chosen = choice.iter().find(|(chosen, _)| *chosen == name);
        let text = match (chosen, &declared["Default"]) {
            (Some((_, value)), _) => (*value).to_owned(),
            (None, Value::Null) => return None,
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        };
        if declared["Type"] == "CommaDelimitedList" {
            return Some(text.split(',').map(|item| json!(item.trim())).collect());
        }
        Some(json!(text))
    };
    let declared = entries(declared);
    let values = declared.filter_map(|(name, it)| Some((name.to_owned(), value(name, it)?)));
    values.collect()
}

struct Stack<'a> {
    name: &'a str,
    template: &'a Value,
    parameters: BTreeMap<String, Value>,
}

impl Stack<'_> {
    /// `value` worked out; `None` for `AWS::NoValue`.
    fn evaluate(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(items) => {
                let items = items.iter().filter_map(|item| self.evaluate(item));
                Some(items.collect())
            }
            Value::Object(fields) => match function(fields) {
                Some((name, argument)) => self.call(name, argument),
                None => {
                    let field = |(name, it): (&String, _)| Some((name.clone(), self.evaluate(it)?));
                    Some(Value::Object(fields.iter().filter_map(field).collect()))
                }
            },
            plain => Some(plain.clone()),
        }
    }

    fn call(&self, name: &str, argument: &Value) -> Option<Value> {
        let arguments = list(argument);
        Some(match (name, arguments) {
            ("Ref", _) => return self.reference(text(argument)),
            ("Fn::GetAtt", [resource, attribute]) => {
                json!(format!("<{}.{}>", text(resource), text(attribute)))
            }
            ("Fn::If", [condition, yes, no]) => {
                return self.evaluate(if self.has(condition) { yes } else { no });
            }
            ("Fn::Join", [between, items]) => {
                let items = self.evaluate(items)?;
                let items: Vec<&str> = list(&items).iter().map(text).collect();
                json!(items.join(text(between)))
            }
            ("Fn::Split", [between, whole]) => {
                let whole = self.evaluate(whole)?;
                let parts = text(&whole).split(text(between));
                parts.map(|part| json!(part)).collect()
            }
            ("Fn::Sub", []) => self.substitute(text(argument), &Map::new()),
            ("Fn::Sub", [pattern, Value::Object(names)]) => self.substitute(text(pattern), names),
            ("Fn::Equals", [a, b]) => json!(self.evaluate(a) == self.evaluate(b)),
            ("Fn::Not", [inner]) => json!(self.evaluate(inner) != Some(json!(true))),
            _ => panic!("the tests do not know {name} {argument}"),
        })
    }

    fn reference(&self, name: &str) -> Option<Value> {
        Some(match name {
            "AWS::NoValue" => return None,
            "AWS::Partition" => json!("aws"),
            "AWS::Region" => json!("eu-central-1"),
            "AWS::AccountId" => json!("111122223333"),
            "AWS::URLSuffix" => json!("amazonaws.com"),
            "AWS::StackName" => json!(self.name),
            _ => {
                let parameter = self.parameters.get(name).cloned();
                parameter.unwrap_or_else(|| json!(format!("<{name}>")))
            }
        })
    }

    fn substitute(&self, pattern: &str, names: &Map<String, Value>) -> Value {
        let mut pieces = pattern.split("${");
        let mut whole = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').expect("a closed brace");
            let value = match (names.get(name), name.split_once('.')) {
                (Some(named), _) => self.evaluate(named),
                (None, Some(_)) => Some(json!(format!("<{name}>"))),
                (None, None) => self.reference(name),
            };
            whole.push_str(text(&value.expect("a value")));
            whole.push_str(rest);
        }
        json!(whole)
    }

    /// Whether a condition holds; none always does.
    fn has(&self, condition: &Value) -> bool {
        let Some(name) = condition.as_str() else {
            return true;
        };
        let condition = self.template["Conditions"].get(name);
        let condition = condition.unwrap_or_else(|| panic!("no condition {name}"));
        self.evaluate(condition) == Some(json!(true))
    }

    /// What the rules say against the parameters.
    fn refused(&self) -> Vec<String> {
        let is_true = |it: &Value| it.is_null() || self.evaluate(it) == Some(json!(true));
        let rules = entries(&self.template["Rules"]).map(|(_, rule)| rule);
        let rules = rules.filter(|rule| is_true(&rule["RuleCondition"]));
        let assertions = rules.flat_map(|rule| list(&rule["Assertions"]));
        let broken = assertions.filter(|assertion| !is_true(&assertion["Assert"]));
        let words = broken.map(|assertion| text(&assertion["AssertDescription"]));
        words.map(str::to_owned).collect()
    }
}

/// The function that an object stands for, and its argument.
fn function(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = fields.iter().next().filter(|_| fields.len() == 1)?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name.as_str(), argument))
}
