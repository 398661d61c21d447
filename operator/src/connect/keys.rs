//! The channels that hold keys the bundle has not made: it will not touch them (`existing_key`) until a person has
//! decided to adopt or to rotate.

use std::collections::HashSet;

use onboarding::fact::KeyStatus;
use onboarding::id::ChannelId;
use platform::store::Channels;

use super::partner_api::{ApiError, PAGE, Query};
use super::visit::{Trouble, Visit};
use super::voice::Voice;

/// Pages after which the list is given up: 100,000 channels.
const MOST_PAGES: usize = 1000;

/// After so many channels in a row whose keys cannot be listed, none are.
const VAIN_TRIES: usize = 3;

/// How often it is said how far it has come, channels.
const PROGRESS: usize = 10;

/// What looking at one channel's keys came to.
enum Looked {
    Held(usize),
    None,
    Ours,
    Unlisted(ApiError),
}

/// Says which of the partner's channels hold keys that are not the bundle's. Never shows a key.
pub(crate) async fn list_keys(visit: &mut Visit<'_>, voice: &mut Voice<'_>) -> Result<(), Trouble> {
    let channels = all_channels(visit, voice).await?;
    voice.tell(
        "channels",
        &format!(
            "{} at 360dialog; one request for each whose key is not the bundle's",
            channels.len()
        ),
    );
    let (mut held, mut ours, mut unlisted, mut in_vain) = (0, 0, 0, 0);
    for (index, channel) in channels.iter().enumerate() {
        if index > 0 && index % PROGRESS == 0 {
            voice.tell("progress", &format!("{index} of {}", channels.len()));
        }
        match look(visit, channel, voice).await? {
            Looked::None => in_vain = 0,
            Looked::Ours => ours += 1,
            Looked::Held(keys) => {
                (held, in_vain) = (held + 1, 0);
                let keys = if keys == 1 {
                    "a key".to_owned()
                } else {
                    format!("{keys} keys")
                };
                voice.tell(
                    channel.as_str(),
                    &format!("holds {keys} that the bundle did not make"),
                );
            }
            Looked::Unlisted(why) => {
                (unlisted, in_vain) = (unlisted + 1, in_vain + 1);
                voice.tell(
                    channel.as_str(),
                    &format!("its keys cannot be listed: {why}"),
                );
            }
        }
        if in_vain == VAIN_TRIES {
            voice.tell(
                "stopped",
                &format!("{VAIN_TRIES} channels in a row: the others are not asked for"),
            );
            break;
        }
    }
    let words =
        format!("{held} with keys of others, {ours} with the bundle's own, {unlisted} not listed");
    voice.tell("summary", &words);
    if held > 0 {
        let words = "those with keys of others stay as they are (existing_key) until you adopt or rotate their keys";
        voice.tell("", words);
    }
    Ok(())
}

async fn look(
    visit: &mut Visit<'_>,
    channel: &ChannelId,
    voice: &mut Voice<'_>,
) -> Result<Looked, Trouble> {
    let table = visit.target().table().clone();
    let stored = Channels::new(table).read(visit.partner(), channel).await;
    let stored = stored.map_err(|why| Trouble::Table(why, visit.target().table_advice()))?;
    if stored
        .channel
        .key
        .is_some_and(|key| key.value.status == KeyStatus::Stored)
    {
        return Ok(Looked::Ours);
    }
    match visit.api.count_keys(channel, voice).await {
        Ok(0) => Ok(Looked::None),
        Ok(keys) => Ok(Looked::Held(keys)),
        Err(why @ (ApiError::BadCredentials | ApiError::Later(_))) => Err(why.into()),
        Err(why) => Ok(Looked::Unlisted(why)),
    }
}

/// The ids of all channels, page after page, whether or not the hub takes notice of `offset`.
async fn all_channels(
    visit: &mut Visit<'_>,
    voice: &mut Voice<'_>,
) -> Result<Vec<ChannelId>, Trouble> {
    let (mut seen, mut channels, mut offset) = (HashSet::new(), Vec::new(), 0);
    for _ in 0..MOST_PAGES {
        let page = visit
            .api
            .channels(
                &Query {
                    limit: PAGE,
                    offset,
                    filters: None,
                },
                voice,
            )
            .await?;
        let known = seen.len();
        for row in &page.rows {
            let id = row.get("id").and_then(|id| id.as_str()).unwrap_or_default();
            match id.parse::<ChannelId>() {
                Ok(channel) if seen.insert(channel.clone()) => channels.push(channel),
                _ => {}
            }
        }
        offset += page.rows.len();
        if seen.len() == known || page.total.is_some_and(|total| offset >= total) {
            return Ok(channels);
        }
    }
    Ok(channels)
}
