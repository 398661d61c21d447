//! A fault, as a control states it.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::{
    Deserialize, Serialize, Serializer,
    de::{IntoDeserializer, value},
};
use serde_json::Value;

use crate::calls::Call;

/// The word that stands for every call, or every webhook.
const ANY: &str = "any";
/// The most copies of one webhook.
const MOST_COPIES: u32 = 100;

/// One fault: of calls if it names a `call`, of webhooks if it names a `webhook`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<CallName>,
    /// The name of an event, or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// How many more calls or tries it applies to; without it, until faults are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    /// How many more pass before it applies.
    #[serde(default)]
    pub(crate) skip: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
    /// The call takes its effect, although it is answered otherwise.
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) is_done: bool,
    /// The call waits until faults are removed.
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) hold: bool,
    /// The fault applies to calls above the rate limit only.
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) above_limit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) form: Option<KeyForm>,
    /// How often each try of the webhook is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) copies: Option<u32>,
    /// The webhook is held back until the partner's next one was delivered.
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) swap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<WrongSignature>,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

/// Why a fault is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFault {
    #[error("a fault names either a call or a webhook")]
    NoTarget,
    #[error("copies, swap and signature are for faults of webhooks")]
    OfWebhooks,
    #[error("channel, answer, is_done, hold, above_limit and form are for faults of calls")]
    OfCalls,
    #[error("times is at least 1, and copies at least 1 and at most 100")]
    Count,
}

impl Fault {
    /// Refuses a fault that could never do anything as stated.
    pub(crate) fn check(&self) -> Result<(), BadFault> {
        let has_webhook_fields = self.copies.is_some() || self.swap || self.signature.is_some();
        let has_call_fields = self.channel.is_some()
            || self.answer.is_some()
            || self.form.is_some()
            || self.is_done
            || self.hold
            || self.above_limit;
        match (&self.call, &self.webhook) {
            (Some(_), None) if has_webhook_fields => return Err(BadFault::OfWebhooks),
            (None, Some(_)) if has_call_fields => return Err(BadFault::OfCalls),
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err(BadFault::NoTarget),
        }
        let copies = self.copies.unwrap_or(1);
        if self.times == Some(0) || !(1..=MOST_COPIES).contains(&copies) {
            return Err(BadFault::Count);
        }
        Ok(())
    }

    pub(crate) fn is_of_event(&self, event: &str) -> bool {
        let name = self.webhook.as_deref();
        name.is_some_and(|name| name == ANY || name == event)
    }
}

/// A call, or every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum CallName {
    Any,
    One(Call),
}

impl CallName {
    pub(crate) fn is(self, call: Call) -> bool {
        self == Self::Any || self == Self::One(call)
    }
}

impl TryFrom<String> for CallName {
    type Error = value::Error;

    fn try_from(text: String) -> Result<Self, value::Error> {
        if text == ANY {
            return Ok(Self::Any);
        }
        Call::deserialize(text.into_deserializer()).map(Self::One)
    }
}

impl Serialize for CallName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => ANY.serialize(serializer),
            Self::One(call) => call.serialize(serializer),
        }
    }
}

/// The answer of a call instead of the usual one.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Answer {
    /// None: the connection stays open until the caller closes it.
    Silence,
    Response(FaultResponse),
}

/// A status, and perhaps a body and headers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultResponse {
    status: u16,
    #[serde(default, deserialize_with = "present")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
}

/// Reads a field that is there, even as null.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl TryFrom<Value> for Answer {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if value == "silence" {
            return Ok(Self::Silence);
        }
        let response: FaultResponse =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        if !(200..600).contains(&response.status) {
            return Err("status is not one of 200 to 599".to_owned());
        }
        if response.headers().count() < response.headers.len() {
            return Err("a header has a malformed name or value".to_owned());
        }
        Ok(Self::Response(response))
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Silence => "silence".serialize(serializer),
            Self::Response(response) => response.serialize(serializer),
        }
    }
}

impl FaultResponse {
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            Some((name, HeaderValue::try_from(value).ok()?))
        })
    }
}

/// The form of the answer with a new key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyForm {
    ApiKey,
    Key,
    ApiKeys,
}

/// A signature that does not verify.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WrongSignature {
    Wrong,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(fault: Value) -> Result<Fault, String> {
        let fault: Fault = serde_json::from_value(fault).map_err(|error| error.to_string())?;
        fault.check().map_err(|error| error.to_string())?;
        Ok(fault)
    }

    #[test]
    fn a_fault_is_shown_as_it_was_stated() {
        for fault in [
            json!({"call": "any", "skip": 0, "answer": "silence", "is_done": true}),
            json!({"call": "new_key", "partner": "aPA", "channel": "aCH", "skip": 2, "times": 1,
                   "answer": {"status": 429, "body": null, "headers": {"retry-after": "7"}}}),
            json!({"webhook": "any", "skip": 0, "copies": 3, "swap": true, "signature": "wrong"}),
        ] {
            let parsed = parse(fault.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), fault);
        }
    }

    #[test]
    fn a_fault_that_could_do_nothing_is_refused_with_the_reason() {
        for (fault, reason) in [
            (json!({}), "either a call or a webhook"),
            (json!({"call": "any", "webhook": "any"}), "either"),
            (json!({"call": "new_kee"}), "unknown variant `new_kee`"),
            (json!({"call": "any", "tmies": 1}), "unknown field"),
            (json!({"call": "any", "copies": 2}), "faults of webhooks"),
            (json!({"webhook": "any", "hold": true}), "faults of calls"),
            (json!({"call": "any", "times": 0}), "times is at least 1"),
            (json!({"webhook": "any", "copies": 0}), "copies at least 1"),
            (json!({"call": "any", "answer": "slience"}), "slience"),
            (
                json!({"call": "any", "answer": {"status": 99}}),
                "200 to 599",
            ),
            (
                json!({"call": "any", "answer": {"status": 200, "headers": {"a b": "c"}}}),
                "header",
            ),
        ] {
            let error = parse(fault).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
