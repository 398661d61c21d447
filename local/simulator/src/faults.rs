//! The faults that are in force: how calls are answered, and webhooks are sent, other than usual.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::to_bytes,
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use crate::{
    calls::Call,
    fault::{Answer, Fault, FaultResponse, KeyForm},
    partner_api::error::ApiError,
    reordering::Reordering,
    store,
};

/// The largest answer whose form is changed, bytes.
const LARGEST_KEY_ANSWER: usize = 1 << 20;

/// The newest fault stands last.
pub(crate) struct Faults {
    list: Mutex<Vec<Fault>>,
    /// How often all faults were removed.
    removals: watch::Sender<u64>,
    reordering: Reordering,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            list: Mutex::default(),
            removals: watch::Sender::new(0),
            reordering: Reordering::default(),
        }
    }
}

/// The call that a fault is looked for.
pub(crate) struct CallTarget<'a> {
    pub(crate) call: Call,
    pub(crate) partner: Option<&'a str>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) is_above_limit: bool,
}

impl Fault {
    fn is_of_call(&self, target: &CallTarget<'_>) -> bool {
        // A call above the limit is answered 429, unless a fault has another answer.
        let is_in_time = if target.is_above_limit {
            self.answer.is_some()
        } else {
            !self.above_limit
        };
        is_in_time
            && self.call.is_some_and(|name| name.is(target.call))
            && is_same(&self.partner, target.partner)
            && is_same(&self.channel, target.channel)
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.unwrap_or(0))
    }
}

fn is_same(wanted: &Option<String>, found: Option<&str>) -> bool {
    wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
}

impl Faults {
    pub(crate) fn add(&self, faults: Vec<Fault>) {
        self.lock().extend(faults);
    }

    /// Removes all faults. Calls and webhooks that were held go on.
    pub(crate) fn clear(&self) {
        let mut list = self.lock();
        list.clear();
        self.reordering.release_all();
        self.removals.send_modify(|removals| *removals += 1);
    }

    /// All faults, the newest last.
    pub(crate) fn all(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The newest fault of a call, which counts it.
    pub(crate) fn match_call(&self, target: &CallTarget<'_>) -> Option<Intervention> {
        let mut list = self.lock();
        let fault = take(&mut list, |fault| fault.is_of_call(target))?;
        // Subscribed while the list is locked, so that no removal is missed.
        let removals = self.removals.subscribe();
        Some(Intervention { fault, removals })
    }

    /// The newest fault of one try of a webhook, which counts it. Its receiver ends once a webhook that is held
    /// back may go.
    pub(crate) fn match_webhook(
        &self,
        partner: &str,
        event: &str,
    ) -> (Fault, Option<oneshot::Receiver<()>>) {
        let is_of_it =
            |fault: &Fault| fault.is_of_event(event) && is_same(&fault.partner, Some(partner));
        let mut list = self.lock();
        let fault = take(&mut list, is_of_it).unwrap_or_default();
        // Held while the list is locked, so that no removal is missed.
        let released = fault.swap.then(|| self.reordering.hold(partner));
        (fault, released.flatten())
    }

    /// Releases the webhook that was held back until this partner's next one was delivered.
    pub(crate) fn webhook_delivered(&self, partner: &str) {
        self.reordering.delivered(partner);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest fault that matches and lets nothing pass any more. It is dropped if that was its last time.
fn take(list: &mut Vec<Fault>, matches: impl Fn(&Fault) -> bool) -> Option<Fault> {
    for index in (0..list.len()).rev() {
        let Some(fault) = list.get_mut(index).filter(|fault| matches(fault)) else {
            continue;
        };
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        return match fault.times {
            Some(0) => Some(list.remove(index)),
            _ => Some(fault.clone()),
        };
    }
    None
}

/// A fault on its way into the answer of one call.
pub(crate) struct Intervention {
    fault: Fault,
    removals: watch::Receiver<u64>,
}

impl Intervention {
    pub(crate) async fn answer(mut self, request: Request, next: Next) -> Response {
        sleep(self.fault.delay()).await;
        if self.fault.hold {
            // Fails only if the simulator is gone.
            let _ = self.removals.changed().await;
        }
        let Fault {
            answer,
            is_done,
            form,
            ..
        } = self.fault;
        match answer {
            None => with_form(form, next.run(request).await).await,
            Some(Answer::Silence) => {
                if is_done {
                    next.run(request).await;
                }
                std::future::pending().await
            }
            Some(Answer::Response(response)) if is_done => {
                let usual = next.run(request).await;
                response.replace(usual)
            }
            // The usual answer is needed for its body only, so nothing that it changes is kept.
            Some(Answer::Response(response)) => {
                let usual = store::rehearse(next.run(request)).await;
                response.replace(usual)
            }
        }
    }
}

impl FaultResponse {
    fn replace(&self, usual: Response) -> Response {
        let status = self.status();
        let mut response = match &self.body {
            Some(body) => Json(body).into_response(),
            None if status.as_u16() >= 400 => ApiError::from_status(status).into_response(),
            None => usual,
        };
        *response.status_mut() = status;
        for (name, value) in self.headers() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The answer with a new key in another form; any other answer is left as it is.
async fn with_form(form: Option<KeyForm>, usual: Response) -> Response {
    let Some(form) = form.filter(|_| usual.status().is_success()) else {
        return usual;
    };
    let (parts, body) = usual.into_parts();
    let Ok(bytes) = to_bytes(body, LARGEST_KEY_ANSWER).await else {
        return ApiError::from_status(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    (parts.status, Json(form.apply(body))).into_response()
}

impl KeyForm {
    fn apply(self, body: Value) -> Value {
        let mut key = match body.pointer("/api_keys/0") {
            Some(key) => key.clone(),
            None => body,
        };
        match self {
            Self::ApiKey => key,
            Self::ApiKeys => json!({"api_keys": [key]}),
            Self::Key => {
                if let Some(fields) = key.as_object_mut()
                    && let Some(secret) = fields.remove("api_key")
                {
                    fields.insert("key".to_owned(), secret);
                }
                key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(faults: &[Value]) -> Vec<Fault> {
        let parse = |fault: &Value| serde_json::from_value(fault.clone()).unwrap();
        faults.iter().map(parse).collect()
    }

    fn channel(fault: Option<Fault>) -> Option<String> {
        fault.and_then(|fault| fault.channel)
    }

    #[test]
    fn the_newest_fault_wins_until_its_times_are_used_up() {
        let mut list = list(&[
            json!({"call": "any", "channel": "old"}),
            json!({"call": "any", "channel": "new", "times": 2, "skip": 1}),
        ]);
        let taken: Vec<_> = (0..4).map(|_| channel(take(&mut list, |_| true))).collect();
        let taken: Vec<&str> = taken.iter().flatten().map(String::as_str).collect();
        assert_eq!(taken, ["old", "new", "new", "old"]);
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_fault_matches_the_call_partner_and_channel_that_it_names() {
        let target = CallTarget {
            call: Call::NewKey,
            partner: Some("aPA"),
            channel: Some("aCH"),
            is_above_limit: false,
        };
        for (fault, is_matched) in [
            (json!({"call": "any"}), true),
            (
                json!({"call": "new_key", "partner": "aPA", "channel": "aCH"}),
                true,
            ),
            (json!({"call": "keys"}), false),
            (json!({"call": "any", "partner": "bPA"}), false),
            (json!({"call": "any", "channel": "bCH"}), false),
            (
                json!({"call": "any", "above_limit": true, "answer": "silence"}),
                false,
            ),
            (json!({"webhook": "any"}), false),
        ] {
            let fault = list(&[fault]).remove(0);
            assert_eq!(fault.is_of_call(&target), is_matched, "{fault:?}");
        }
    }

    #[test]
    fn a_new_key_is_answered_in_any_form() {
        let key = json!({"id": "1", "api_key": "s"});
        let listed = json!({"api_keys": [key]});
        assert_eq!(KeyForm::ApiKeys.apply(key.clone()), listed);
        assert_eq!(KeyForm::ApiKey.apply(listed.clone()), key);
        assert_eq!(KeyForm::Key.apply(listed), json!({"id": "1", "key": "s"}));
    }
}
