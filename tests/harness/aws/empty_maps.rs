//! Mends what DynamoDB Local 3.3 does to an empty map in its streams: it comes as `{}`, a value without a type, where
//! DynamoDB has `{"M": {}}`, and no client of AWS can read that.

use serde_json::{Value, json};

/// The answer to `GetRecords` as DynamoDB would give it.
pub(super) fn mended(answer: &[u8]) -> Option<Vec<u8>> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    for record in answer["Records"].as_array_mut()? {
        for image in ["Keys", "NewImage", "OldImage"] {
            if let Some(item) = record["dynamodb"].get_mut(image) {
                mend_all(item);
            }
        }
    }
    serde_json::to_vec(&answer).ok()
}

/// Mends every value of an item or a map.
fn mend_all(values: &mut Value) {
    values
        .as_object_mut()
        .into_iter()
        .flat_map(|values| values.values_mut())
        .for_each(mend);
}

fn mend(value: &mut Value) {
    if value.as_object().is_some_and(serde_json::Map::is_empty) {
        *value = json!({"M": {}});
    } else if let Some(map) = value.get_mut("M") {
        mend_all(map);
    } else if let Some(list) = value.get_mut("L").and_then(Value::as_array_mut) {
        list.iter_mut().for_each(mend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_has_its_type_again_wherever_it_is() {
        let answer = |empty: Value| {
            let map = json!({"M": {"a": empty, "b": {"L": [empty, {"S": "x"}]}}});
            json!({"Records": [{"dynamodb": {"Keys": {"pk": {"S": ""}}, "NewImage": {"c": map, "d": empty, "e": {"L": []}}}}]})
        };
        let seen = mended(answer(json!({})).to_string().as_bytes()).unwrap();
        let seen: Value = serde_json::from_slice(&seen).unwrap();
        assert_eq!(seen, answer(json!({"M": {}})));
    }
}
