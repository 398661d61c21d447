//! A record of the calls that arrived at the Partner API and the messaging API, without their secrets.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    calls::Call,
    rate::{Arrivals, Rate},
};

/// How many calls are kept.
const MOST_CALLS: usize = 10_000;

/// The kind of the credential that was sent.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credential {
    ApiKey,
    Token,
    ChannelKey,
    None,
}

/// One call, as a control shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallRecord {
    pub(crate) call: Call,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) credential: Credential,
    /// The first digits of the credential's SHA-256.
    pub(crate) digest: Option<String>,
    pub(crate) partner: Option<String>,
    pub(crate) channel: Option<String>,
    /// `None` until the call is answered.
    pub(crate) status: Option<u16>,
}

/// The calls that a control shows; an absent field matches every call.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallFilter {
    partner: Option<String>,
    call: Option<Call>,
    channel: Option<String>,
}

impl CallFilter {
    fn matches(&self, record: &CallRecord) -> bool {
        let is_same = |wanted: &Option<String>, found| wanted.is_none() || wanted == found;
        is_same(&self.partner, &record.partner)
            && is_same(&self.channel, &record.channel)
            && self.call.is_none_or(|call| call == record.call)
    }
}

#[derive(Default)]
struct Log {
    /// By number, in the order of arrival.
    calls: VecDeque<(u64, CallRecord)>,
    next_number: u64,
    arrivals: BTreeMap<String, Arrivals>,
}

/// All calls, and how many of each partner arrived in a span.
pub(crate) struct CallLog {
    limit: Option<Rate>,
    log: Mutex<Log>,
}

impl CallLog {
    pub(crate) fn new(limit: Option<Rate>) -> Self {
        Self {
            limit,
            log: Mutex::default(),
        }
    }

    /// Records a call as it arrives. Returns its number, and whether it is above the partner's limit.
    pub(crate) fn arrive(&self, record: CallRecord) -> (u64, bool) {
        let mut log = self.lock();
        let is_above_limit = match &record.partner {
            Some(partner) if record.call.counts_for_rate() => {
                let arrivals = log.arrivals.entry(partner.clone()).or_default();
                arrivals.count(self.limit, Instant::now())
            }
            _ => false,
        };
        let number = log.next_number;
        log.next_number += 1;
        if log.calls.len() == MOST_CALLS {
            log.calls.pop_front();
        }
        log.calls.push_back((number, record));
        (number, is_above_limit)
    }

    /// Records the status that a call was answered with.
    pub(crate) fn answered(&self, number: u64, status: u16) {
        let mut log = self.lock();
        let position = log
            .calls
            .binary_search_by_key(&number, |(number, _)| *number);
        // A call that was forgotten has no position.
        let call = position.ok().and_then(|index| log.calls.get_mut(index));
        if let Some((_, call)) = call {
            call.status = Some(status);
        }
    }

    /// The calls that a filter matches, and the rates of `partners`.
    pub(crate) fn view<'a>(
        &self,
        filter: &CallFilter,
        partners: impl Iterator<Item = &'a String>,
    ) -> Value {
        let log = self.lock();
        let calls: Vec<&CallRecord> = log
            .calls
            .iter()
            .map(|(_, call)| call)
            .filter(|call| filter.matches(call))
            .collect();
        let rates: BTreeMap<&String, Value> = partners
            .map(|partner| (partner, self.rate_view(log.arrivals.get(partner))))
            .collect();
        json!({"calls": calls, "rates": rates})
    }

    fn rate_view(&self, arrivals: Option<&Arrivals>) -> Value {
        json!({
            "limit": self.limit.map(|limit| limit.to_string()),
            "highest": arrivals.map_or(0, Arrivals::highest),
        })
    }

    /// Forgets the calls and the highest counts. Calls that count for the limit still count.
    pub(crate) fn forget(&self) {
        let mut log = self.lock();
        log.calls.clear();
        log.arrivals.values_mut().for_each(Arrivals::forget_highest);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(channel: &str) -> CallRecord {
        CallRecord {
            call: Call::Keys,
            method: "GET".into(),
            path: "/".into(),
            query: None,
            credential: Credential::None,
            digest: None,
            partner: Some("aPA".into()),
            channel: Some(channel.into()),
            status: None,
        }
    }

    fn channels(log: &CallLog, filter: &CallFilter) -> Vec<Value> {
        let view = log.view(filter, std::iter::empty());
        let calls = view["calls"].as_array().unwrap();
        calls.iter().map(|call| call["channel"].clone()).collect()
    }

    #[test]
    fn the_oldest_call_is_forgotten_first_and_a_late_answer_to_it_is_ignored() {
        let log = CallLog::new(None);
        let (oldest, _) = log.arrive(record("oldest"));
        for _ in 0..MOST_CALLS {
            log.arrive(record("newer"));
        }
        log.answered(oldest, 200);
        let all = channels(&log, &CallFilter::default());
        assert_eq!(all.len(), MOST_CALLS);
        assert!(all.iter().all(|channel| channel == "newer"));
    }

    #[test]
    fn a_filter_picks_calls() {
        let log = CallLog::new(None);
        log.arrive(record("aCH"));
        log.arrive(record("bCH"));
        let filter = CallFilter {
            channel: Some("bCH".into()),
            ..CallFilter::default()
        };
        assert_eq!(channels(&log, &filter), ["bCH"]);
        let filter = CallFilter {
            call: Some(Call::NewKey),
            ..CallFilter::default()
        };
        assert!(channels(&log, &filter).is_empty());
    }
}
