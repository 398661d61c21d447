//! Explains the state of a channel: its facts in order, and what each of them changed.

use std::collections::BTreeMap;

use onboarding::channel::Channel;
use onboarding::fact::Fact;
use onboarding::queue::Due;
use serde_json::{Value, json};
use store::{Hook, MintState, StoredFact};

use crate::reporter::add_line;

/// The explanation as text.
pub(crate) fn report(
    channel: &Channel,
    facts: &[StoredFact],
    mint: &MintState,
    hook: &Hook,
) -> String {
    let mut text = format!("channel {} of {}\n", channel.id.channel, channel.id.partner);
    for (name, value) in fields(channel) {
        add_line(&mut text, &format!("  {name:<16} {value}"));
    }
    let due_at = match mint.due {
        None => "when something changes".to_owned(),
        Some(Due::InLine(place)) => format!("in its turn, at place {}", place.number()),
        Some(Due::At { at, .. } | Due::Background(at)) => at.to_string(),
        Some(Due::Comparison(at)) => {
            format!("{at}: the stored key is compared with 360dialog's list")
        }
    };
    add_line(&mut text, &format!("  {:<16} {due_at}", "next run"));
    if let Some(intent) = &mint.intent {
        let times: Vec<String> = intent
            .unanswered
            .iter()
            .map(|post| post.at.to_string())
            .collect();
        let ours = match intent.ours.as_slice() {
            [] => String::new(),
            ids => format!("; keys that came of it: {}", ids.join(", ")),
        };
        let intent_text = format!(
            "key asked for without a clear answer at {}{ours}",
            times.join(", ")
        );
        add_line(&mut text, &format!("  {:<16} {intent_text}", "open intent"));
    }
    if let Some(answer) = &mint.last_answer {
        let answer = format!("{}  {}", answer.at, answer.text);
        add_line(&mut text, &format!("  {:<16} {answer}", "last answer"));
    }
    if let Some(due_at) = hook.due_at {
        add_line(&mut text, &format!("  {:<16} {due_at}", "webhook due"));
    }
    if let Some(answer) = &hook.last_answer {
        let answer = format!("{}  {}", answer.at, answer.text);
        add_line(&mut text, &format!("  {:<16} {answer}", "webhook answer"));
    }
    add_line(&mut text, "");
    add_line(&mut text, &format!("{} facts, oldest first", facts.len()));
    let mut known = Channel::unknown(channel.id.clone());
    for StoredFact { fact, .. } in facts {
        let before = fields(&known);
        known.join(fact);
        add_line(&mut text, &heading(fact));
        let changes = changes(&before, &fields(&known));
        if changes.is_empty() {
            add_line(&mut text, "    changed nothing");
        }
        for change in changes {
            add_line(&mut text, &format!("    {change}"));
        }
    }
    if fields(&known) != fields(channel) {
        add_line(&mut text, "");
        add_line(
            &mut text,
            "The channel shows more than these facts, or less: some have expired, or are being folded now.",
        );
    }
    text
}

fn heading(fact: &Fact) -> String {
    let source = word(&json!(fact.source));
    let kind = word(&json!(fact.kind));
    format!("  {}  {source} {kind}  {}", fact.received_at, fact.cause)
        .trim_end()
        .to_owned()
}

fn changes(
    before: &BTreeMap<&'static str, String>,
    after: &BTreeMap<&'static str, String>,
) -> Vec<String> {
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    let old = |name| before.get(name).map_or("-", String::as_str);
    changed
        .map(|(name, value)| format!("{name}: {} → {value}", old(*name)))
        .collect()
}

/// The fields of a channel, by name.
fn fields(channel: &Channel) -> BTreeMap<&'static str, String> {
    let binding = channel.binding.as_ref().map(|binding| &binding.value);
    let key = channel.key.as_ref().map(|key| &key.value);
    let client = channel.client.as_ref().map(|client| &client.value);
    let webhook = channel.messaging_webhook.as_ref();
    let permission = channel
        .permission
        .as_ref()
        .map(|permission| permission.value);
    let known = [
        ("client", client.map(ToString::to_string)),
        ("tenant", binding.map(|binding| binding.tenant.to_string())),
        (
            "new in session",
            binding.map(|binding| binding.fresh.to_string()),
        ),
        ("stage", channel.stage().map(|stage| word(&json!(stage)))),
        (
            "permission",
            permission.map(|permission| word(&json!(permission))),
        ),
        (
            "claim",
            channel.claimed.as_ref().map(|_| "confirmed".to_owned()),
        ),
        ("key", key.map(|key| word(&json!(key.status)))),
        (
            "key reason",
            key.and_then(|key| key.reason)
                .map(|reason| word(&json!(reason))),
        ),
        ("key id", key.and_then(|key| key.key_id.clone())),
        (
            "messaging webhook",
            webhook.map(|webhook| word(&json!(webhook.value))),
        ),
    ];
    let described = channel.description.iter();
    let described = described.map(|(field, text)| (field.label(), text.value.clone()));
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.chain(described).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dialog360::Field;
    use dialog360::event::{Permission, Stage};
    use dialog360::id::ChannelRef;
    use jiff::Timestamp;
    use onboarding::fact::{Assertion, Source};
    use store::LastAnswer;

    use super::*;

    fn id() -> ChannelRef {
        ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap())
    }

    #[test]
    fn every_fact_is_shown_with_what_it_changed() {
        let mut channel = Channel::unknown(id());
        let fact = |second, assertion, cause: &str| {
            let at = Timestamp::from_second(second).unwrap();
            Fact::new(id(), Source::Webhook, assertion, at, cause)
        };
        let facts = [
            fact(
                1,
                Assertion {
                    stage: Some(Stage::Running),
                    ..Assertion::default()
                },
                "channel_running",
            ),
            fact(
                2,
                Assertion {
                    stage: Some(Stage::Ready),
                    ..Assertion::default()
                },
                "channel_ready",
            ),
            fact(
                3,
                Assertion {
                    permission: Some(Permission::Granted),
                    ..Assertion::default()
                },
                "channel_permission_granted",
            ),
        ];
        channel.join_all(&facts);
        let facts = facts.map(|fact| StoredFact { fact, body: None });
        let report = report(&channel, &facts, &MintState::default(), &Hook::default());
        let expected = "channel bCH of aPA\n  permission       granted\n  stage            running\n  \
                        next run         when something changes\n\n3 facts, oldest first\n  \
                        1970-01-01T00:00:01Z  webhook stage  channel_running\n    stage: - → running\n  \
                        1970-01-01T00:00:02Z  webhook stage  channel_ready\n    changed nothing\n  \
                        1970-01-01T00:00:03Z  webhook permission  channel_permission_granted\n    \
                        permission: - → granted\n";
        assert_eq!(report, expected);
    }

    #[test]
    fn control_characters_are_replaced() {
        let assertion = Assertion {
            description: [(
                Field::DisplayName,
                "a\u{1b}[2Jb\nkey stored\u{9b}".to_owned(),
            )]
            .into(),
            ..Assertion::default()
        };
        let fact = Fact::new(
            id(),
            Source::Webhook,
            assertion,
            Timestamp::UNIX_EPOCH,
            "channel_live\r",
        );
        let mut channel = Channel::unknown(id());
        channel.join(&fact);
        let mut hook = Hook::default();
        let answer = "the messaging API: no\u{7}".to_owned();
        hook.fail(answer, Duration::ZERO, Timestamp::UNIX_EPOCH);
        let report = report(
            &channel,
            &[StoredFact { fact, body: None }],
            &MintState {
                last_answer: Some(LastAnswer {
                    at: Timestamp::UNIX_EPOCH,
                    text: "a new key: no\u{7}".to_owned(),
                }),
                ..MintState::default()
            },
            &hook,
        );
        assert_eq!(
            report
                .matches("a\u{fffd}[2Jb\u{fffd}key stored\u{fffd}\n")
                .count(),
            2,
            "{report}"
        );
        assert!(
            report.contains("  last answer      1970-01-01T00:00:00Z  a new key: no\u{fffd}\n"),
            "{report}"
        );
        assert!(
            report.contains("  webhook due      1970-01-01T00:01:00Z\n  webhook answer   1970-01-01T00:00:00Z  the messaging API: no\u{fffd}\n"),
            "{report}"
        );
        assert!(
            !report.contains(|c: char| c.is_control() && c != '\n'),
            "{report:?}"
        );
    }
}
