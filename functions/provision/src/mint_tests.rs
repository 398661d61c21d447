//! Tests of the judgement of a list of keys, and of the outcome of a POST.

use dialog360::secret::Secret;
use jiff::Timestamp;

use super::*;

fn version(key_id: Option<&str>) -> Version {
    Version {
        id: "v".into(),
        key_id: key_id.map(str::to_owned),
    }
}

fn intent(age: SignedDuration, baseline: &[&str], posts: u32) -> Intent {
    let sent_at: Timestamp = clock::now().saturating_sub(age).unwrap();
    let baseline = baseline.iter().map(|id| (*id).to_owned()).collect();
    Intent {
        attempt: "a".into(),
        sent_at,
        baseline,
        posts,
    }
}

/// `Ok` with the baseline if a key may be made, `Err` with the reason if not, `Err(None)` if ours is live.
fn judged(
    ids: &[&str],
    current: Option<&str>,
    open: Option<&Intent>,
) -> Result<Vec<String>, Option<KeyReason>> {
    match judge(
        ids.iter().map(|id| (*id).to_owned()).collect(),
        &version(current),
        open,
    ) {
        Listed::Ours => Err(None),
        Listed::Clear { baseline } => Ok(baseline),
        Listed::Stop(outcome) => Err(outcome.verdict.and_then(|verdict| verdict.reason)),
    }
}

#[test]
fn a_key_is_made_where_none_is_live() {
    assert_eq!(judged(&[], None, None), Ok(vec![]));
    assert_eq!(judged(&[], Some("1"), None), Ok(vec![]));
}

#[test]
fn our_own_key_is_kept_and_a_foreign_key_is_never_revoked() {
    assert_eq!(judged(&["1"], Some("1"), None), Err(None));
    assert_eq!(
        judged(&["1"], None, None),
        Err(Some(KeyReason::ExistingKey))
    );
    assert_eq!(
        judged(&["2"], Some("1"), None),
        Err(Some(KeyReason::ExistingKey))
    );
}

#[test]
fn one_unknown_key_counts_as_our_own_for_an_hour_after_a_lost_answer() {
    let young = intent(SignedDuration::from_mins(59), &["0"], 1);
    assert_eq!(judged(&["7"], None, Some(&young)), Ok(vec!["0".to_owned()]));
    assert_eq!(
        judged(&["0"], None, Some(&young)),
        Err(Some(KeyReason::ExistingKey)),
        "it was there before"
    );
    assert_eq!(
        judged(&["7", "8"], None, Some(&young)),
        Err(Some(KeyReason::ExistingKey))
    );
    let old = intent(SignedDuration::from_mins(61), &[], 1);
    assert_eq!(
        judged(&["7"], None, Some(&old)),
        Err(Some(KeyReason::ExistingKey))
    );
}

#[test]
fn a_refusal_closes_the_intent_and_an_unclear_answer_leaves_it_open() {
    let known = Channel::unknown(ChannelRef::new(
        "aPA".parse().unwrap(),
        "bCH".parse().unwrap(),
    ));
    let outcome = |minted: &KeyOutcome, posts| {
        let outcome = judge_post(&known, minted, intent(SignedDuration::ZERO, &[], posts));
        let verdict = outcome.verdict.unwrap();
        (
            verdict.status,
            verdict.reason.unwrap(),
            outcome.intent.map(|intent| intent.posts),
        )
    };
    use KeyStatus::{Blocked, Waiting};
    assert_eq!(
        outcome(&KeyOutcome::NotPermitted, 1),
        (Waiting, KeyReason::AwaitingPermission, None)
    );
    assert_eq!(
        outcome(&KeyOutcome::BadCredentials, 1),
        (Waiting, KeyReason::BadCredentials, None)
    );
    assert_eq!(
        outcome(&KeyOutcome::UnknownChannel, 1),
        (Blocked, KeyReason::HubRefused, None)
    );
    assert_eq!(
        outcome(&KeyOutcome::Refused(400), 1),
        (Blocked, KeyReason::HubRefused, None)
    );
    assert_eq!(
        outcome(&KeyOutcome::Unknown(""), 4),
        (Waiting, KeyReason::HubUnavailable, Some(4))
    );
    assert_eq!(
        outcome(&KeyOutcome::Unknown(""), 5),
        (Blocked, KeyReason::HubUnavailable, Some(5))
    );
    assert_eq!(
        outcome(&KeyOutcome::RateLimited(None), 5),
        (Waiting, KeyReason::HubUnavailable, Some(4))
    );
}

#[test]
fn an_operator_reads_what_360dialog_answered() {
    let words = |outcome, status, message: Option<&str>| {
        post_in_words(&KeyAnswer {
            outcome,
            status,
            message: message.map(str::to_owned),
        })
    };
    let unknown = KeyOutcome::Unknown;
    assert_eq!(
        words(unknown("no answer"), None, None),
        "a new key: no answer"
    );
    assert_eq!(
        words(unknown("no readable key"), Some(201), None),
        "a new key: status 201: no readable key"
    );
    assert_eq!(
        words(KeyOutcome::NotPermitted, Some(403), Some("not shared")),
        "a new key: status 403: not shared"
    );
}

#[test]
fn a_stored_key_closes_the_intent() {
    let outcome = stored(Some("7".into()), "name".into());
    assert_eq!(outcome.verdict.unwrap().status, KeyStatus::Stored);
    assert_eq!(
        (outcome.retry_at, outcome.intent),
        (RetryAt::OnChange, None)
    );
    assert!(!format!("{:?}", Secret::new("needle")).contains("needle"));
}
