//! Lists the channels with keys that the bundle has not made. It leaves them alone (`existing_key`) until an operator
//! has decided to adopt or to rotate them.

use dialog360::client::{ApiError, ErrorKind};
use dialog360::id::{ChannelId, ChannelRef};
use onboarding::fact::KeyStatus;
use store::Channels;

use super::call_error::{CallError, advice};
use super::partner_connection::{ConnectError, PartnerConnection};
use crate::reporter::Reporter;

/// After so many channels in a row whose keys cannot be listed, it stops.
const MAX_FAILURES: usize = 3;

/// After how many channels it prints its progress.
const PROGRESS: usize = 10;

/// The keys of one channel.
enum Inspected {
    Held(usize),
    None,
    Ours,
    Unlisted(ApiError),
}

/// Prints which of the partner's channels hold keys that are not the bundle's. It never prints a key.
pub(crate) async fn list_keys(
    connection: &mut PartnerConnection<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), ConnectError> {
    let channels = connection.client.all_channels(reporter).await?;
    reporter.item(
        "channels",
        &format!(
            "{} at 360dialog; one request for each whose key is not the bundle's",
            channels.len()
        ),
    );
    let (mut held, mut ours, mut unlisted, mut failures) = (0, 0, 0, 0);
    for (index, channel) in channels.iter().enumerate() {
        if index > 0 && index % PROGRESS == 0 {
            reporter.item("progress", &format!("{index} of {}", channels.len()));
        }
        match inspect(connection, channel, reporter).await? {
            Inspected::None => failures = 0,
            Inspected::Ours => ours += 1,
            Inspected::Held(keys) => {
                (held, failures) = (held + 1, 0);
                let keys = if keys == 1 {
                    "a key".to_owned()
                } else {
                    format!("{keys} keys")
                };
                reporter.item(
                    channel.as_str(),
                    &format!("holds {keys} that the bundle did not make"),
                );
            }
            Inspected::Unlisted(why) => {
                (unlisted, failures) = (unlisted + 1, failures + 1);
                reporter.item(
                    channel.as_str(),
                    &format!("its keys cannot be listed: {}", advice(&why)),
                );
            }
        }
        if failures == MAX_FAILURES {
            reporter.item(
                "stopped",
                &format!("{MAX_FAILURES} channels in a row: the others are not asked for"),
            );
            break;
        }
    }
    let text =
        format!("{held} with keys of others, {ours} with the bundle's own, {unlisted} not listed");
    reporter.item("summary", &text);
    if held > 0 {
        let text = "those with keys of others stay as they are (existing_key) until you delete those keys at 360dialog";
        reporter.item("", text);
    }
    Ok(())
}

async fn inspect(
    connection: &mut PartnerConnection<'_>,
    channel: &ChannelId,
    reporter: &mut Reporter<'_>,
) -> Result<Inspected, ConnectError> {
    let instance = connection.target().instance();
    let id = ChannelRef::new(connection.partner().clone(), channel.clone());
    let stored = Channels::new(instance.table().clone()).read(&id).await;
    let stored = stored.map_err(|why| connection.table_failed(why))?;
    if stored
        .channel
        .key
        .is_some_and(|key| key.value.status == KeyStatus::Stored)
    {
        return Ok(Inspected::Ours);
    }
    match connection.client.count_keys(channel, reporter).await {
        Ok(0) => Ok(Inspected::None),
        Ok(keys) => Ok(Inspected::Held(keys)),
        Err(CallError::Api(why)) if is_about_this_call(why.kind) => Ok(Inspected::Unlisted(why)),
        Err(why) => Err(why.into()),
    }
}

fn is_about_this_call(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::BadCredentials | ErrorKind::RateLimited(_))
}
