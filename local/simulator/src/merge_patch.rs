//! JSON Merge Patch (RFC 7396): a field replaces, an object goes deeper, null removes.

use serde_json::{Map, Value};

/// Applies a patch to an object; a target that is no object becomes one.
pub(crate) fn apply(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                fields.remove(name);
            }
            Value::Object(deeper) => apply(fields.entry(name).or_insert(Value::Null), deeper),
            value => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_replaces_goes_deeper_and_removes() {
        // The example of RFC 7396, section 3, shortened.
        let mut target = json!({"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "content": "x"});
        let patch = json!({"title": "Hello!", "author": {"familyName": null}, "content": null, "new": {"a": 1}});
        apply(&mut target, patch.as_object().unwrap());
        let expected = json!({"title": "Hello!", "author": {"givenName": "John"}, "new": {"a": 1}});
        assert_eq!(target, expected);
    }
}
