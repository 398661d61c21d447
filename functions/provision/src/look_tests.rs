//! What is wanted, by what is known.

use jiff::Timestamp;
use onboarding::fact::{Fact, Source};
use onboarding::hub_event::{Permission, Stage};

use super::*;

fn channel(said: &[Said]) -> Channel {
    let mut channel = Channel::unknown("aPA".parse().unwrap(), "bCH".parse().unwrap());
    for (second, said) in said.iter().enumerate() {
        let at = Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
        channel.join(&Fact::new(
            (&channel.partner, &channel.id),
            Source::Webhook,
            said.clone(),
            at,
            "",
        ));
    }
    channel
}

fn bound() -> Said {
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "cCL".parse().unwrap(),
        fresh: true,
    };
    Said {
        binding: Some(binding),
        ..Said::default()
    }
}

fn running() -> Said {
    Said {
        stage: Some(Stage::Running),
        ..Said::default()
    }
}

fn permission(permission: Permission) -> Said {
    Said {
        permission: Some(permission),
        ..Said::default()
    }
}

fn wanted(said: &[Said]) -> Wanted {
    Wanted::of(&channel(said), Billing::DirectPaid, Switch::On, false)
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
fn a_partner_who_pays_needs_no_permission() {
    let channel = channel(&[bound(), running()]);
    assert_eq!(
        Wanted::of(&channel, Billing::PartnerPaid, Switch::On, false),
        Wanted::Yes
    );
    let off = Wanted::of(&channel, Billing::PartnerPaid, Switch::Off, false);
    assert_eq!(off, Wanted::Waits(KeyReason::SwitchedOff));
}

#[test]
fn a_stored_key_stays_after_a_revocation_and_goes_with_a_cancellation() {
    let stored = Said {
        key: Some(KeyState::stored("1".into(), "n".into())),
        ..Said::default()
    };
    let facts = [bound(), running(), stored, permission(Permission::Revoked)];
    assert_eq!(wanted(&facts), Wanted::Stored);
    let cancelled = Said {
        cancelled: Some(true),
        ..Said::default()
    };
    assert_eq!(wanted(&[bound(), cancelled]), Wanted::Cancelled);
    let open_intent = Wanted::of(
        &channel(&facts[..3]),
        Billing::PartnerPaid,
        Switch::On,
        true,
    );
    assert_eq!(open_intent, Wanted::Yes);
}

#[test]
fn only_what_matters_for_the_key_is_worth_a_look() {
    let old = channel(&[bound()]);
    assert!(is_worth_a_look(None, &old));
    assert!(!is_worth_a_look(Some(&old), &old));
    let named = channel(&[
        bound(),
        Said {
            display_name: Some("Acme".into()),
            ..Said::default()
        },
    ]);
    assert!(!is_worth_a_look(Some(&old), &named));
    let keyed = channel(&[
        bound(),
        Said {
            key: Some(KeyState::stored("1".into(), "n".into())),
            ..Said::default()
        },
    ]);
    assert!(!is_worth_a_look(Some(&old), &keyed));
    for said in [
        running(),
        permission(Permission::Granted),
        Said {
            cancelled: Some(true),
            ..Said::default()
        },
    ] {
        assert!(is_worth_a_look(Some(&old), &channel(&[bound(), said])));
    }
}
