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
        "[0-9]{1,3}".prop_map(|id| KeyState::stored(id, "name".into()))
    ]
}

fn any_binding() -> impl Strategy<Value = Binding> {
    ("[ab]", "[cd]CL", any::<bool>()).prop_map(|(tenant, client, fresh)| Binding {
        tenant: tenant.parse().unwrap(),
        client: client.parse().unwrap(),
        fresh,
    })
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
        words in proptest::array::uniform4(proptest::option::of("[xyz]")),
    ) -> Assertion {
        let words = Field::ALL.into_iter().zip(words);
        let description = words.filter_map(|(field, word)| Some((field, word?))).collect();
        Assertion { client, stage, cancelled, permission, claimed, binding, key, description }
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
    let binding = |tenant: &str, fresh| Assertion {
        binding: Some(Binding {
            tenant: tenant.parse().unwrap(),
            client: "cCL".parse().unwrap(),
            fresh,
        }),
        ..Assertion::default()
    };
    let (fresh, later) = (
        fact(binding("acme", true), 1, ""),
        fact(binding("acme", false), 2, ""),
    );
    assert!(joined(&[fresh.clone(), later.clone()]).is_fresh());
    assert!(joined(&[later, fresh.clone()]).is_fresh());
    assert!(!joined(&[fresh, fact(binding("other", false), 3, "")]).is_fresh());
}

#[test]
fn a_fact_about_another_channel_changes_nothing() {
    let mut other = fact(stage(Stage::Live), 1, "");
    other.channel.channel = "otherCH".parse().unwrap();
    assert_eq!(joined(&[other]), channel());
}

#[test]
fn nobody_sees_a_channel_that_belongs_to_nobody() {
    assert_eq!(joined(&[fact(stage(Stage::Live), 1, "")]).view(), None);
}

#[test]
fn a_channel_is_shown_in_the_form_of_the_contract() {
    let binding = Binding {
        tenant: "acme".parse().unwrap(),
        client: "oaY9LLfUCL".parse().unwrap(),
        fresh: true,
    };
    let facts = [
        fact(
            Assertion {
                binding: Some(binding),
                ..Assertion::default()
            },
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
    let shown = serde_json::to_value(joined(&facts).view().unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "y9MiLoCH", "partner_id": "aAbBcCPA", "client_id": "oaY9LLfUCL", "tenant": "acme",
        "stage": "running", "permission": "granted", "claim": "confirmed",
        "key": {"status": "minting", "reason": null, "secret_name": null},
        "phone_number": null, "display_name": null, "quality": null, "messaging_limit": null,
        "updated_at": "2026-04-09T13:09:08Z"
    });
    assert_eq!(shown, expected);
}
