//! Tests of what follows from a list of keys, and of the outcome of a POST.

use dialog360::id::{ChannelRef, ClientId};
use onboarding::fact::{Fact, KeyStatus, Source};
use store::{ClientSeen, Mint};

use super::*;

fn known(intent: Option<Intent>) -> Known {
    let id = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
    let mut mint = Mint::unknown(&id);
    mint.intent = intent;
    let channel = Channel::unknown(id);
    Known { channel, mint }
}

/// An intent whose last POST is this moment's, after so many others.
fn intent(posts: usize) -> Intent {
    let next = |open: Option<Intent>| {
        let baseline = Some(Vec::new());
        Some(Intent::next(
            open.as_ref(),
            "a",
            baseline,
            Vec::new(),
            clock::now(),
        ))
    };
    let all = (0..posts).fold(None, |open, _| next(open));
    all.expect("at least one")
}

/// The reason why no key may be made, `None` if one may.
fn stops(
    keys: Result<Vec<String>, ApiError>,
    open: Option<&Intent>,
) -> Option<(KeyReason, RetryAt)> {
    match judge_keys(&known(open.cloned()), keys) {
        Listed::Stop(outcome) => Some((outcome.verdict?.reason?, outcome.retry_at)),
        Listed::Ours | Listed::Clear { .. } => None,
    }
}

#[test]
fn a_refusal_of_the_list_is_doubted_within_an_hour_while_a_post_may_make_a_key_yet() {
    let refused = || Err(ErrorKind::NotPermitted.into());
    let waits = KeyReason::AwaitingPermission;
    assert_eq!(stops(refused(), None), Some((waits, RetryAt::Tomorrow)));
    let open = intent(1);
    assert_eq!(
        stops(refused(), Some(&open)),
        Some((waits, RetryAt::Hourly))
    );
}

#[test]
fn without_a_list_or_beside_a_foreign_key_none_is_made() {
    let unlisted = || Err(ErrorKind::NotFound.into());
    let blocked = Some((KeyReason::KeysUnlisted, RetryAt::Tomorrow));
    assert_eq!(stops(unlisted(), None), blocked);
    assert_eq!(stops(unlisted(), Some(&intent(1))), blocked);
    let foreign = stops(Ok(vec!["1".to_owned()]), None);
    assert_eq!(foreign, Some((KeyReason::ExistingKey, RetryAt::Tomorrow)));
}

#[test]
fn a_refusal_ends_its_own_post_and_an_unclear_answer_leaves_it_open() {
    use KeyStatus::{Blocked, Waiting};
    let outcome = |minted: &KeyOutcome, posts| {
        let outcome = judge_post(&known(None).channel, minted, intent(posts));
        let verdict = outcome.verdict.unwrap();
        let open = outcome
            .intent
            .map(|open| (open.unanswered.len(), open.unclear()));
        (
            verdict.status,
            verdict.reason.unwrap(),
            open,
            outcome.retry_at,
        )
    };
    let later = RetryAt::Later(None);
    for (answer, status, reason, retry_at) in [
        (
            KeyOutcome::NotPermitted,
            Waiting,
            KeyReason::AwaitingPermission,
            RetryAt::Tomorrow,
        ),
        (KeyOutcome::NotReady, Waiting, KeyReason::NotRunning, later),
        (
            KeyOutcome::BadCredentials,
            Waiting,
            KeyReason::BadCredentials,
            later,
        ),
        (
            KeyOutcome::UnknownChannel,
            Blocked,
            KeyReason::HubRefused,
            RetryAt::Tomorrow,
        ),
        (
            KeyOutcome::Refused(400),
            Blocked,
            KeyReason::HubRefused,
            RetryAt::Tomorrow,
        ),
    ] {
        assert_eq!(outcome(&answer, 1), (status, reason, None, retry_at));
        let (.., open, _) = outcome(&answer, 2);
        assert_eq!(
            open,
            Some((1, 1)),
            "the first POST is still open: {answer:?}"
        );
    }
    let (.., retry_at) = outcome(&KeyOutcome::NotPermitted, 2);
    assert_eq!(retry_at, RetryAt::Hourly);
    let unavailable = KeyReason::HubUnavailable;
    for posts in 1..5 {
        assert_eq!(
            outcome(&KeyOutcome::Unknown(""), posts),
            (
                Waiting,
                unavailable,
                Some((posts, posts)),
                RetryAt::Unclear(posts)
            )
        );
    }
    assert_eq!(
        outcome(&KeyOutcome::Unknown(""), 5),
        (Blocked, unavailable, Some((5, 5)), RetryAt::Tomorrow)
    );
    let (status, _, open, _) = outcome(&KeyOutcome::RateLimited(None), 5);
    assert_eq!((status, open), (Waiting, Some((5, 4))));
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
fn after_a_stored_key_the_list_is_read_again_if_an_older_post_may_make_another() {
    let closed = intent(1).stored(clock::now());
    assert_eq!(closed, None);
    assert_eq!(until_late_posts(closed.as_ref()), RetryAt::Compare);
    let open = intent(2).stored(clock::now()).expect("the first POST");
    let later = open.unanswered[0].at.saturating_add(LATE_POST).unwrap();
    assert_eq!(until_late_posts(Some(&open)), RetryAt::Until(later));
}

/// I6: such a channel gets a key although 360dialog lists none.
#[test]
fn only_a_channel_that_was_created_in_its_session_within_a_day_counts_as_new() {
    let now = clock::now();
    let of_age = |hours: Option<i64>, fresh| {
        let mut known = known(None);
        let (id, client) = (known.channel.id.clone(), "cCL".parse::<ClientId>().unwrap());
        let binding = Binding {
            tenant: "acme".parse().unwrap(),
            client: client.clone(),
            fresh,
        };
        let bound = Assertion {
            binding: Some(binding),
            ..Assertion::default()
        };
        let fact = Fact::new(id, Source::Provision, bound, now, "");
        known.channel.join(&fact);
        let ago = |hours| now.checked_sub(SignedDuration::from_hours(hours)).unwrap();
        known.mint.client_seen = Some(ClientSeen {
            client,
            at: now,
            created_at: hours.map(ago),
        });
        is_new(&known, now)
    };
    assert_eq!(of_age(Some(23), true), IsNew::Yes);
    assert_eq!(of_age(Some(24), true), IsNew::No);
    assert_eq!(of_age(None, true), IsNew::No);
    assert_eq!(of_age(Some(1), false), IsNew::No);
}
