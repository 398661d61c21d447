//! Tests of whether a key is wanted.

use dialog360::event::{Permission, Stage};
use jiff::Timestamp;
use onboarding::fact::{Fact, Source};

use super::*;

fn channel(assertion: &[Assertion]) -> Channel {
    let mut channel = Channel::unknown(ChannelRef::new(
        "aPA".parse().unwrap(),
        "bCH".parse().unwrap(),
    ));
    for (second, assertion) in assertion.iter().enumerate() {
        let at = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
        channel.join(&Fact::new(
            channel.id.clone(),
            Source::Webhook,
            assertion.clone(),
            at,
            "",
        ));
    }
    channel
}

fn bound() -> Assertion {
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "cCL".parse().unwrap(),
        fresh: true,
    };
    Assertion {
        binding: Some(binding),
        ..Assertion::default()
    }
}

fn running() -> Assertion {
    Assertion {
        stage: Some(Stage::Running),
        ..Assertion::default()
    }
}

fn permission(permission: Permission) -> Assertion {
    Assertion {
        permission: Some(permission),
        ..Assertion::default()
    }
}

fn wanted(assertion: &[Assertion]) -> Wanted {
    Wanted::judge(&channel(assertion), Billing::DirectPaid, Switch::On, None)
}

#[test]
fn a_key_is_wanted_of_a_bound_permitted_running_channel() {
    let granted = permission(Permission::Granted);
    assert_eq!(wanted(&[bound(), running(), granted.clone()]), Wanted::Yes);
    assert_eq!(
        wanted(&[running(), granted.clone()]),
        Wanted::Waits(KeyReason::Unclaimed)
    );
    assert_eq!(
        wanted(&[bound(), granted.clone()]),
        Wanted::Waits(KeyReason::NotRunning)
    );
    assert_eq!(
        wanted(&[bound(), running()]),
        Wanted::Waits(KeyReason::AwaitingPermission)
    );
    let revoked = permission(Permission::Revoked);
    assert_eq!(
        wanted(&[bound(), running(), granted, revoked]),
        Wanted::Waits(KeyReason::AwaitingPermission)
    );
}

#[test]
fn no_permission_is_needed_if_the_partner_pays() {
    let channel = channel(&[bound(), running()]);
    assert_eq!(
        Wanted::judge(&channel, Billing::PartnerPaid, Switch::On, None),
        Wanted::Yes
    );
    let off = Wanted::judge(&channel, Billing::PartnerPaid, Switch::Off, None);
    assert_eq!(off, Wanted::Waits(KeyReason::SwitchedOff));
}

#[test]
fn a_key_stays_stored_after_a_revocation_and_not_after_a_cancellation() {
    let stored = Assertion {
        key: Some(KeyState::stored(Some("1".into()))),
        ..Assertion::default()
    };
    let facts = [bound(), running(), stored, permission(Permission::Revoked)];
    assert_eq!(wanted(&facts), Wanted::Stored);
    let cancelled = Assertion {
        cancelled: Some(true),
        ..Assertion::default()
    };
    assert_eq!(wanted(&[bound(), cancelled]), Wanted::Cancelled);
    let intent = Intent {
        attempt: "a".into(),
        baseline: None,
        ours: Vec::new(),
        unanswered: Vec::new(),
    };
    let open_intent = Wanted::judge(
        &channel(&facts[..3]),
        Billing::PartnerPaid,
        Switch::On,
        Some(&intent),
    );
    assert_eq!(open_intent, Wanted::Yes);
}

/// I6: else one empty list would be a reason to replace it.
#[test]
fn a_wait_after_an_error_hides_no_stored_key() {
    let now = clock::now();
    let verdict = |facts: &[Assertion]| still_waiting(&channel(facts), now, None).verdict;
    let stored = Assertion {
        key: Some(KeyState::stored(Some("1".into()))),
        ..Assertion::default()
    };
    assert_eq!(verdict(&[bound(), running(), stored]), None);
    let status = verdict(&[bound(), running()]).map(|verdict| verdict.status);
    assert_eq!(status, Some(KeyStatus::Waiting));
}

#[test]
fn only_a_change_that_can_affect_the_key_is_relevant() {
    let old = channel(&[bound()]);
    assert!(is_relevant_change(None, &old));
    assert!(!is_relevant_change(Some(&old), &old));
    let named = channel(&[
        bound(),
        Assertion {
            description: [(dialog360::Field::DisplayName, "Acme".to_owned())].into(),
            ..Assertion::default()
        },
    ]);
    assert!(!is_relevant_change(Some(&old), &named));
    let keyed = channel(&[
        bound(),
        Assertion {
            key: Some(KeyState::stored(Some("1".into()))),
            ..Assertion::default()
        },
    ]);
    assert!(!is_relevant_change(Some(&old), &keyed));
    let not_fresh = channel(&[Assertion {
        binding: bound().binding.map(|binding| Binding {
            fresh: false,
            ..binding
        }),
        ..Assertion::default()
    }]);
    assert!(
        is_relevant_change(Some(&not_fresh), &old),
        "freshness that comes later"
    );
    for assertion in [
        running(),
        permission(Permission::Granted),
        Assertion {
            cancelled: Some(true),
            ..Assertion::default()
        },
    ] {
        assert!(is_relevant_change(
            Some(&old),
            &channel(&[bound(), assertion])
        ));
    }
}
