//! A channel's story: its facts in order, and what each of them changed.

use std::collections::BTreeMap;

use onboarding::channel::Channel;
use onboarding::fact::Fact;
use platform::store::{Intent, StoredFact};
use serde_json::{Value, json};

/// The story as text.
pub(crate) fn tell(
    channel: &Channel,
    facts: &[StoredFact],
    due_at: Option<impl std::fmt::Display>,
    intent: Option<&Intent>,
) -> String {
    let mut story = format!("channel {} of {}\n", channel.id, channel.partner);
    for (name, value) in fields(channel) {
        line(&mut story, &format!("  {name:<16} {value}"));
    }
    let due_at = due_at.map_or_else(
        || "when something changes".to_owned(),
        |due_at| due_at.to_string(),
    );
    line(&mut story, &format!("  {:<16} {due_at}", "looked at next"));
    if let Some(intent) = intent {
        let words = format!(
            "key asked for at {} without a clear answer, {} times",
            intent.sent_at, intent.posts
        );
        line(&mut story, &format!("  {:<16} {words}", "open intent"));
    }
    line(&mut story, "");
    line(&mut story, &format!("{} facts, oldest first", facts.len()));
    let mut known = Channel::unknown(channel.partner.clone(), channel.id.clone());
    for StoredFact { fact, .. } in facts {
        let before = fields(&known);
        known.join(fact);
        line(&mut story, &heading(fact));
        let changes = changes(&before, &fields(&known));
        if changes.is_empty() {
            line(&mut story, "    changed nothing");
        }
        for change in changes {
            line(&mut story, &format!("    {change}"));
        }
    }
    if fields(&known) != fields(channel) {
        line(&mut story, "");
        line(
            &mut story,
            "The channel shows more than these facts, or less: some have expired, or are being folded now.",
        );
    }
    story
}

/// Adds a line. What the hub says is anybody's text: no control character of it reaches the terminal.
fn line(story: &mut String, text: &str) {
    story.extend(text.chars().map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    }));
    story.push('\n');
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

/// What is known of a channel, by name.
fn fields(channel: &Channel) -> BTreeMap<&'static str, String> {
    let binding = channel.binding.as_ref().map(|binding| &binding.value);
    let key = channel.key.as_ref().map(|key| &key.value);
    let known = [
        (
            "client",
            channel
                .client
                .as_ref()
                .map(|client| client.value.to_string()),
        ),
        ("tenant", binding.map(|binding| binding.tenant.to_string())),
        (
            "new in session",
            binding.map(|binding| binding.fresh.to_string()),
        ),
        ("stage", channel.stage().map(|stage| word(&json!(stage)))),
        (
            "permission",
            channel
                .permission
                .as_ref()
                .map(|permission| word(&json!(permission.value))),
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
            "phone number",
            channel.phone_number.as_ref().map(|mark| mark.value.clone()),
        ),
        (
            "display name",
            channel.display_name.as_ref().map(|mark| mark.value.clone()),
        ),
        (
            "quality",
            channel.quality.as_ref().map(|mark| mark.value.clone()),
        ),
        (
            "messaging limit",
            channel
                .messaging_limit
                .as_ref()
                .map(|mark| mark.value.clone()),
        ),
    ];
    known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use onboarding::fact::{Said, Source};
    use onboarding::hub_event::{Permission, Stage};

    use super::*;

    #[test]
    fn every_fact_is_told_with_what_it_changed() {
        let mut channel = Channel::unknown("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let fact = |second, said, cause: &str| {
            let at = Timestamp::from_second(second).unwrap();
            let about = ("aPA".parse().unwrap(), "bCH".parse().unwrap());
            Fact::new((&about.0, &about.1), Source::Webhook, said, at, cause)
        };
        let facts = [
            fact(
                1,
                Said {
                    stage: Some(Stage::Running),
                    ..Said::default()
                },
                "channel_running",
            ),
            fact(
                2,
                Said {
                    stage: Some(Stage::Ready),
                    ..Said::default()
                },
                "channel_ready",
            ),
            fact(
                3,
                Said {
                    permission: Some(Permission::Granted),
                    ..Said::default()
                },
                "channel_permission_granted",
            ),
        ];
        channel.join_all(&facts);
        let facts = facts.map(|fact| StoredFact { fact, body: None });
        let story = tell(&channel, &facts, None::<Timestamp>, None);
        let expected = "channel bCH of aPA\n  permission       granted\n  stage            running\n  \
                        looked at next   when something changes\n\n3 facts, oldest first\n  \
                        1970-01-01T00:00:01Z  webhook stage  channel_running\n    stage: - → running\n  \
                        1970-01-01T00:00:02Z  webhook stage  channel_ready\n    changed nothing\n  \
                        1970-01-01T00:00:03Z  webhook permission  channel_permission_granted\n    \
                        permission: - → granted\n";
        assert_eq!(story, expected);
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let about = ("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let said = Said {
            display_name: Some("a\u{1b}[2Jb\nkey stored\u{9b}".to_owned()),
            ..Said::default()
        };
        let fact = Fact::new(
            (&about.0, &about.1),
            Source::Webhook,
            said,
            Timestamp::UNIX_EPOCH,
            "channel_live\r",
        );
        let mut channel = Channel::unknown(about.0.clone(), about.1.clone());
        channel.join(&fact);
        let story = tell(
            &channel,
            &[StoredFact { fact, body: None }],
            None::<Timestamp>,
            None,
        );
        assert_eq!(
            story
                .matches("a\u{fffd}[2Jb\u{fffd}key stored\u{fffd}\n")
                .count(),
            2,
            "{story}"
        );
        assert!(
            !story.contains(|c: char| c.is_control() && c != '\n'),
            "{story:?}"
        );
    }
}
