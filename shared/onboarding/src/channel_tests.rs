//! The laws of the join, over facts as they come from every source.

use proptest::prelude::*;

use super::*;
use crate::fact::Source;

fn id() -> ChannelRef {
    ChannelRef::new("aAbBcCPA".parse().unwrap(), "y9MiLoCH".parse().unwrap())
}

fn channel() -> Channel {
    Channel::unknown(id())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn fact(assertion: Assertion, second: i64, cause: &str) -> Fact {
    Fact::new(id(), Source::Webhook, assertion, at(second), cause)
}

fn stage(stage: Stage) -> Assertion {
    Assertion {
        stage: Some(stage),
        ..Assertion::default()
    }
}

fn permission(permission: Permission) -> Assertion {
    Assertion {
        permission: Some(permission),
        ..Assertion::default()
    }
}

fn binding(tenant: &str, client: &str, fresh: bool) -> Binding {
    Binding {
        tenant: tenant.parse().unwrap(),
        client: client.parse().unwrap(),
        fresh,
    }
}

fn bound(binding: Binding) -> Assertion {
    Assertion {
        binding: Some(binding),
        ..Assertion::default()
    }
}

fn joined(facts: &[Fact]) -> Channel {
    let mut channel = channel();
    channel.join_all(facts);
    channel
}

fn any_key() -> impl Strategy<Value = KeyState> {
    let waiting = Just(KeyState::without_key(
        KeyStatus::Waiting,
        KeyReason::NotRunning,
    ));
    let blocked = Just(KeyState::without_key(
        KeyStatus::Blocked,
        KeyReason::ExistingKey,
    ));
    prop_oneof![
        waiting,
        blocked,
        "[0-9]{1,3}".prop_map(|id| KeyState::stored(Some(id)))
    ]
}

fn any_binding() -> impl Strategy<Value = Binding> {
    ("[ab]", "[cd]CL", any::<bool>())
        .prop_map(|(tenant, client, fresh)| binding(&tenant, &client, fresh))
}

prop_compose! {
    fn any_assertion()(
        client in proptest::option::of("[cd]CL".prop_map(|id| id.parse().unwrap())),
        stage in proptest::option::of(prop_oneof![
            Just(Stage::Created), Just(Stage::Ready), Just(Stage::Running), Just(Stage::Live)
        ]),
        cancelled in proptest::option::of(any::<bool>()),
        permission in proptest::option::of(prop_oneof![Just(Permission::Granted), Just(Permission::Revoked)]),
        claimed in any::<bool>(),
        binding in proptest::option::of(any_binding()),
        key in proptest::option::of(any_key()),
        messaging_webhook in proptest::option::of(prop_oneof![
            Just(MessagingWebhook::Waiting), Just(MessagingWebhook::Set), Just(MessagingWebhook::Failed)
        ]),
        words in proptest::array::uniform4(proptest::option::of("[xyz]")),
    ) -> Assertion {
        let words = Field::ALL.into_iter().zip(words);
        let description = words.filter_map(|(field, word)| Some((field, word?))).collect();
        Assertion { client, stage, cancelled, permission, claimed, binding, key, messaging_webhook, description }
    }
}

fn any_facts() -> impl Strategy<Value = Vec<Fact>> {
    // Few moments and few causes, so that equal times and equal facts do happen.
    proptest::collection::vec(
        (any_assertion(), 0..4i64, "[pq]")
            .prop_map(|(assertion, s, cause)| fact(assertion, s, &cause)),
        0..12,
    )
    .prop_map(|mut facts| {
        // In the table an id is written once: two facts of one id are one fact.
        let mut seen = std::collections::BTreeSet::new();
        facts.retain(|fact| seen.insert(fact.id.clone()));
        facts
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_any_repetition_and_any_split_gives_the_same_channel(
        (facts, mixed) in any_facts().prop_flat_map(|facts| {
            let twice: Vec<Fact> = facts.iter().chain(&facts).cloned().collect();
            (Just(facts), Just(twice).prop_shuffle())
        }),
        cut in any::<prop::sample::Index>(),
    ) {
        let expected = joined(&facts);
        prop_assert_eq!(&joined(&mixed), &expected);

        let (first, second) = mixed.split_at(cut.index(mixed.len() + 1));
        let kept = serde_json::to_string(&joined(first)).unwrap();
        let mut resumed: Channel = serde_json::from_str(&kept).unwrap();
        resumed.join_all(second);
        prop_assert_eq!(&resumed, &expected);
    }

    #[test]
    fn a_fact_that_was_joined_is_no_news(facts in any_facts(), assertion in any_assertion()) {
        let mut channel = joined(&facts);
        // Later than all else, so that it wins every field but a lower stage.
        channel.join(&fact(assertion.clone(), 100, "late"));
        prop_assert_eq!(channel.news(assertion), Assertion::default());
    }

    #[test]
    fn of_an_unknown_channel_everything_is_news(assertion in any_assertion()) {
        prop_assert_eq!(channel().news(assertion.clone()), assertion);
    }
}

#[test]
fn whatever_differs_from_what_is_shown_is_news() {
    let known = Assertion {
        client: Some("cCL".parse().unwrap()),
        cancelled: Some(true),
        claimed: true,
        binding: Some(binding("acme", "cCL", false)),
        key: Some(KeyState::without_key(
            KeyStatus::Waiting,
            KeyReason::SwitchedOff,
        )),
        messaging_webhook: Some(MessagingWebhook::Waiting),
        description: [(Field::Quality, "High".to_owned())].into(),
        ..permission(Permission::Granted)
    };
    let channel = joined(&[fact(known, 1, ""), fact(stage(Stage::Running), 1, "")]);
    let news = Assertion {
        client: Some("dCL".parse().unwrap()),
        stage: Some(Stage::Live),
        cancelled: Some(false),
        claimed: false,
        binding: Some(binding("acme", "cCL", true)),
        key: Some(KeyState::stored(Some("1".into()))),
        messaging_webhook: Some(MessagingWebhook::Set),
        description: [(Field::Quality, "Low".to_owned())].into(),
        ..permission(Permission::Revoked)
    };
    assert_eq!(channel.news(news.clone()), news);
    for other in [
        binding("other", "cCL", false),
        binding("acme", "dCL", false),
    ] {
        let news = bound(other);
        assert_eq!(channel.news(news.clone()), news);
    }
}

#[test]
fn a_stage_only_moves_up_until_it_is_cancelled_and_an_operator_reopens_it() {
    let live = fact(stage(Stage::Live), 1, "");
    let running = fact(stage(Stage::Running), 2, "");
    let cancelled = fact(
        Assertion {
            cancelled: Some(true),
            ..Assertion::default()
        },
        3,
        "",
    );
    let reopened = fact(
        Assertion {
            cancelled: Some(false),
            ..Assertion::default()
        },
        4,
        "",
    );
    assert_eq!(
        joined(&[live.clone(), running.clone()]).stage(),
        Some(ShownStage::Live)
    );
    let facts = [live, running, cancelled, reopened];
    assert_eq!(joined(&facts[..3]).stage(), Some(ShownStage::Cancelled));
    assert_eq!(joined(&facts).stage(), Some(ShownStage::Live));
}

#[test]
fn the_later_permission_wins_and_at_equal_times_the_revocation() {
    let granted = fact(permission(Permission::Granted), 5, "");
    let revoked = fact(permission(Permission::Revoked), 5, "");
    assert!(!joined(&[granted.clone(), revoked.clone()]).is_permitted());
    assert!(!joined(&[revoked.clone(), granted]).is_permitted());
    assert!(joined(&[revoked, fact(permission(Permission::Granted), 6, "again")]).is_permitted());
}

#[test]
fn a_binding_that_was_fresh_once_stays_fresh_for_the_same_owner() {
    let bound = |tenant, fresh| bound(binding(tenant, "cCL", fresh));
    let (fresh, later) = (
        fact(bound("acme", true), 1, ""),
        fact(bound("acme", false), 2, ""),
    );
    assert!(joined(&[fresh.clone(), later.clone()]).is_fresh());
    assert!(joined(&[later, fresh.clone()]).is_fresh());
    assert!(!joined(&[fresh, fact(bound("other", false), 3, "")]).is_fresh());
}

#[test]
fn a_fact_about_another_channel_changes_nothing() {
    let mut other = fact(stage(Stage::Live), 1, "");
    other.channel.channel = "otherCH".parse().unwrap();
    assert_eq!(joined(&[other]), channel());
}

#[test]
fn nobody_sees_a_channel_that_belongs_to_nobody() {
    let nobodys = joined(&[fact(stage(Stage::Live), 1, "")]);
    assert_eq!((nobodys.tenant(), nobodys.view()), (None, None));
}

#[test]
fn before_the_first_decision_the_key_waits_for_what_is_missing() {
    let shown = |reached, permitted| {
        let assertion = permission(permitted);
        let channel = joined(&[
            fact(bound(binding("acme", "cCL", false)), 1, ""),
            fact(stage(reached), 1, ""),
            fact(assertion, 1, ""),
        ]);
        let key = channel.view().unwrap().key;
        (key.status, key.reason)
    };
    let waiting = |reason| (KeyStatus::Waiting, Some(reason));
    let (granted, revoked) = (Permission::Granted, Permission::Revoked);
    let not_running = waiting(KeyReason::NotRunning);
    assert_eq!(shown(Stage::Created, granted), not_running);
    assert_eq!(shown(Stage::Ready, granted), not_running);
    let awaiting = waiting(KeyReason::AwaitingPermission);
    assert_eq!(shown(Stage::Running, revoked), awaiting);
    assert_eq!(shown(Stage::Running, granted), (KeyStatus::Minting, None));
    assert_eq!(shown(Stage::Live, granted), (KeyStatus::Minting, None));
}

#[test]
fn a_stored_key_is_shown_without_its_id() {
    let key = KeyState::stored(Some("201126".into()));
    let assertion = Assertion {
        key: Some(key),
        ..bound(binding("acme", "cCL", false))
    };
    let expected = KeyView {
        status: KeyStatus::Stored,
        reason: None,
    };
    assert_eq!(
        joined(&[fact(assertion, 1, "")]).view().unwrap().key,
        expected
    );
}

#[test]
fn a_channel_is_shown_in_the_form_of_the_contract() {
    let facts = [
        fact(
            bound(binding("acme", "oaY9LLfUCL", true)),
            1_775_740_147,
            "",
        ),
        fact(
            Assertion {
                claimed: true,
                ..permission(Permission::Granted)
            },
            1_775_740_148,
            "",
        ),
        fact(stage(Stage::Running), 1_775_740_140, ""),
    ];
    let channel = joined(&facts);
    assert_eq!(channel.tenant().unwrap().as_str(), "acme");
    let shown = serde_json::to_value(channel.view().unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "y9MiLoCH", "partner_id": "aAbBcCPA", "client_id": "oaY9LLfUCL", "tenant": "acme",
        "stage": "running", "permission": "granted", "claim": "confirmed",
        "key": {"status": "minting", "reason": null},
        "messaging_webhook": "off", "phone_number": null, "display_name": null, "quality": null, "messaging_limit": null,
        "updated_at": "2026-04-09T13:09:08Z"
    });
    assert_eq!(shown, expected);
}
