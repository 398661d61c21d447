//! Checks which assumptions about 360dialog hold with this account. It changes nothing, at 360dialog or here.

use dialog360::channel::ChannelObject;
use dialog360::client::{ErrorKind, Page, Query};
use dialog360::id::{ChannelId, ClientId};
use serde_json::{Value, json};

use super::call_error::{CallError, advice};
use super::decide::{OnConflict, Seen};
use super::partner_connection::{ConnectError, CurrentAddresses, PartnerConnection};
use crate::reporter::{Finding, Reporter};

/// How many channels are read in one page.
const PAGE: usize = 100;

const LISTED: &str = "channels are listed as {\"partner_channels\": […]}";

/// Prints for each assumption whether it holds. Fails if the bundle could not work at all.
pub(crate) async fn check(
    connection: &mut PartnerConnection<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), ConnectError> {
    let credentials = format!(
        "the credentials are accepted ({})",
        connection.client.credential_form()
    );
    let current = match connection.read_current(reporter).await {
        Ok(current) => current,
        Err(why) => {
            let finding = match &why {
                ConnectError::Call(CallError::Api(why))
                    if why.kind == ErrorKind::BadCredentials =>
                {
                    Finding::NotConfirmed("HTTP 401".to_owned())
                }
                _ => Finding::Unknown("360dialog did not say".to_owned()),
            };
            reporter.finding(&credentials, &finding);
            return Err(why);
        }
    };
    let page = connection
        .client
        .page(
            &Query {
                limit: PAGE,
                offset: 0,
                filters: None,
            },
            reporter,
        )
        .await;
    let is_accepted = page.is_ok() || !matches!(current.webhook, Seen::Unknown(_));
    let unknown = || Finding::Unknown("360dialog did not say".to_owned());
    reporter.finding(
        &credentials,
        &if is_accepted {
            Finding::Confirmed
        } else {
            unknown()
        },
    );
    reporter.finding("the webhook URL can be read", &readable(&current.webhook));
    reporter.finding(
        "the redirect URL can be read (not documented)",
        &readable(&current.redirect),
    );
    match page {
        Ok(page) => channels(connection, &page, reporter).await?,
        Err(CallError::Api(why)) => {
            reporter.finding(LISTED, &Finding::NotConfirmed(advice(&why)));
            reporter.trouble("without a list of channels the bundle confirms no permission: ask 360dialog for it");
        }
        Err(why) => return Err(why.into()),
    }
    bundle(connection, reporter).await;
    preview(connection, &current, reporter).await
}

fn readable(seen: &Seen) -> Finding {
    match seen {
        Seen::Unknown(why) => Finding::NotConfirmed(why.clone()),
        Seen::Nothing | Seen::Url(_) => Finding::Confirmed,
    }
}

/// Checks what the bundle relies on in lists of channels and of keys.
async fn channels(
    connection: &mut PartnerConnection<'_>,
    page: &Page,
    reporter: &mut Reporter<'_>,
) -> Result<(), ConnectError> {
    reporter.finding(LISTED, &Finding::Confirmed);
    let total = match page.total {
        Some(_) => Finding::Confirmed,
        None => Finding::NotConfirmed(
            "it is missing; the bundle reads until a page brings nothing new".to_owned(),
        ),
    };
    reporter.finding("the list says its total", &total);
    let channels = &page.channels;
    let client_named = "every channel names its client (client_id or client.id)";
    let integration = "every channel has integration.state";
    for (what, having) in [
        ("every channel has an id", channels.len()),
        (
            client_named,
            count(channels, |channel| channel.client.is_some()),
        ),
        (
            "every channel has created_at",
            count(channels, |channel| channel.created_at.is_some()),
        ),
        (
            "every channel has hub_status",
            count(channels, |channel| channel.hub_status.is_some()),
        ),
        (
            integration,
            count(channels, |channel| channel.integration_state.is_some()),
        ),
    ] {
        reporter.finding(what, &for_all(having, page.rows));
    }
    let first = channels
        .iter()
        .find_map(|channel| Some((channel.id.clone(), channel.client.clone()?)));
    let Some((id, client)) = first else {
        let none = Finding::Unknown("this account has no channel yet".to_owned());
        for what in [
            "filters by id are honoured",
            "filters by client_id are honoured",
            "keys can be listed",
        ] {
            reporter.finding(what, &none);
        }
        return Ok(());
    };
    for filter in [Filter::Id(id.clone()), Filter::Client(client)] {
        let finding = filters(connection, page, &filter, reporter).await?;
        reporter.finding(
            &format!("filters by {} are honoured", filter.name()),
            &finding,
        );
    }
    if page.rows > 1 {
        let finding = paging(connection, &id, reporter).await?;
        reporter.finding("limit and offset are honoured", &finding);
    }
    let finding = keys(connection, &id, reporter).await?;
    reporter.finding("keys can be listed", &finding);
    Ok(())
}

fn count(channels: &[ChannelObject], has: impl Fn(&ChannelObject) -> bool) -> usize {
    channels.iter().filter(|channel| has(channel)).count()
}

/// Whether all rows have an attribute that `having` of them have.
fn for_all(having: usize, rows: usize) -> Finding {
    match rows {
        0 => Finding::Unknown("this account has no channel yet".to_owned()),
        all if all == having => Finding::Confirmed,
        all => Finding::NotConfirmed(format!("{having} of {all} have it")),
    }
}

/// A filter of the list of channels.
enum Filter {
    Id(ChannelId),
    Client(ClientId),
}

impl Filter {
    fn name(&self) -> &'static str {
        match self {
            Self::Id(_) => "id",
            Self::Client(_) => "client_id",
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Id(id) => json!({"id": id}),
            Self::Client(client) => json!({"client_id": client}),
        }
    }

    fn fits(&self, channel: &ChannelObject) -> bool {
        match self {
            Self::Id(id) => channel.id == *id,
            Self::Client(client) => channel.client.as_ref() == Some(client),
        }
    }
}

/// Whether a filter finds the channels it names, and no others.
async fn filters(
    connection: &mut PartnerConnection<'_>,
    page: &Page,
    filter: &Filter,
    reporter: &mut Reporter<'_>,
) -> Result<Finding, ConnectError> {
    let query = Query {
        limit: PAGE,
        offset: 0,
        filters: Some(filter.to_json()),
    };
    let filtered = match connection.client.page(&query, reporter).await {
        Ok(filtered) => filtered,
        Err(why) => return Ok(refusal(why)?),
    };
    let fitting = count(&filtered.channels, |channel| filter.fits(channel));
    let others = count(&page.channels, |channel| !filter.fits(channel));
    Ok(match (fitting, filtered.rows) {
        (0, _) => {
            reporter.trouble("without it the bundle confirms no permission: ask 360dialog how channels are filtered");
            Finding::NotConfirmed("it does not find what it names".to_owned())
        }
        (fitting, all) if fitting < all => Finding::NotConfirmed(
            "other channels come too; the bundle filters again, at the price of more pages"
                .to_owned(),
        ),
        _ if others == 0 => Finding::Unknown("every channel of this account fits".to_owned()),
        _ => Finding::Confirmed,
    })
}

/// Whether, with pages of one channel, the second page has another channel than the first.
async fn paging(
    connection: &mut PartnerConnection<'_>,
    first: &ChannelId,
    reporter: &mut Reporter<'_>,
) -> Result<Finding, ConnectError> {
    let query = Query {
        limit: 1,
        offset: 1,
        filters: None,
    };
    let second = match connection.client.page(&query, reporter).await {
        Ok(second) => second,
        Err(why) => return Ok(refusal(why)?),
    };
    Ok(match second.channels.as_slice() {
        [channel] if second.rows == 1 && channel.id != *first => Finding::Confirmed,
        _ => Finding::NotConfirmed(
            "the bundle copes, unless there are more channels than fit on a page".to_owned(),
        ),
    })
}

async fn keys(
    connection: &mut PartnerConnection<'_>,
    channel: &ChannelId,
    reporter: &mut Reporter<'_>,
) -> Result<Finding, ConnectError> {
    Ok(
        match connection.client.count_keys(channel, reporter).await {
            Ok(_) => Finding::Confirmed,
            Err(CallError::Api(why)) if why.kind == ErrorKind::NotFound => {
                let why = "HTTP 404 or 405; the bundle makes keys only for numbers connected through it (keys_unlisted)";
                Finding::NotConfirmed(why.to_owned())
            }
            Err(why) => refusal(why)?,
        },
    )
}

/// The refusal of one call is a finding. If every other call would be refused too, it is an error.
fn refusal(why: CallError) -> Result<Finding, CallError> {
    let CallError::Api(why) = why else {
        return Err(why);
    };
    match why.kind {
        ErrorKind::BadCredentials | ErrorKind::RateLimited(_) | ErrorKind::Silent => {
            Err(why.into())
        }
        _ => Ok(Finding::NotConfirmed(advice(&why))),
    }
}

/// Whether the bundle answers. A signed event would be stored, so none is sent.
async fn bundle(connection: &PartnerConnection<'_>, reporter: &mut Reporter<'_>) {
    let what = "the bundle serves this partner and refuses an unsigned event";
    match connection.probe.refuses_unsigned().await {
        Ok(()) => reporter.finding(what, &Finding::Confirmed),
        Err(why) => reporter.trouble(&why.to_string()),
    }
    let why = "only connecting sends a signed event, which is kept".to_owned();
    reporter.finding(
        "the bundle has this partner's platform secret",
        &Finding::Unknown(why),
    );
    let why = "only a webhook of 360dialog's own can show it".to_owned();
    reporter.finding(
        "360dialog signs with this partner's platform secret",
        &Finding::Unknown(why),
    );
}

async fn preview(
    connection: &PartnerConnection<'_>,
    current: &CurrentAddresses,
    reporter: &mut Reporter<'_>,
) -> Result<(), ConnectError> {
    for text in connection.preview(current, OnConflict::Refuse).await? {
        reporter.item("connecting", &text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dialog360::client::ApiError;

    use super::*;

    #[test]
    fn an_attribute_is_confirmed_only_if_every_channel_has_it() {
        assert_eq!(for_all(2, 2), Finding::Confirmed);
        let some = Finding::NotConfirmed("1 of 2 have it".to_owned());
        assert_eq!(for_all(1, 2), some);
        assert!(matches!(for_all(0, 0), Finding::Unknown(_)));
    }

    #[test]
    fn a_refused_call_is_a_finding_and_refused_credentials_are_an_error() {
        for why in [
            ErrorKind::NotFound,
            ErrorKind::NotPermitted,
            ErrorKind::Status(500),
            ErrorKind::Unreadable("x"),
        ] {
            let refused = refusal(ApiError::from(why).into());
            assert!(matches!(refused, Ok(Finding::NotConfirmed(_))));
        }
        for why in [ErrorKind::BadCredentials, ErrorKind::Silent] {
            let refused = refusal(ApiError::from(why).into());
            assert!(matches!(refused, Err(CallError::Api(error)) if error.kind == why));
        }
    }
}
