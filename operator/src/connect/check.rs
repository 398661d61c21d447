//! Which assumptions about 360dialog hold with this account. Changes nothing, neither there nor here.

use serde_json::{Value, json};

use super::decide::{Foreign, Seen};
use super::partner_api::{ApiError, PAGE, Page, Query};
use super::visit::{Now, Trouble, Visit};
use super::voice::{Finding, Voice};

const LISTED: &str = "channels are listed as {\"partner_channels\": […]}";

/// Says of each assumption whether it holds; fails where the bundle could not work at all.
pub(crate) async fn check(visit: &mut Visit<'_>, voice: &mut Voice<'_>) -> Result<(), Trouble> {
    let credentials = format!(
        "the credentials are accepted ({})",
        visit.api.credential_form()
    );
    let now = match visit.look(voice).await {
        Ok(now) => now,
        Err(why) => {
            let finding = match &why {
                Trouble::Api(ApiError::BadCredentials) => {
                    Finding::NotConfirmed("HTTP 401".to_owned())
                }
                _ => Finding::Unknown("360dialog did not say".to_owned()),
            };
            voice.finding(&credentials, &finding);
            return Err(why);
        }
    };
    let page = visit
        .api
        .channels(
            &Query {
                limit: PAGE,
                offset: 0,
                filters: None,
            },
            voice,
        )
        .await;
    let is_accepted = page.is_ok() || !matches!(now.webhook, Seen::Untold(_));
    let unknown = || Finding::Unknown("360dialog did not say".to_owned());
    voice.finding(
        &credentials,
        &if is_accepted {
            Finding::Confirmed
        } else {
            unknown()
        },
    );
    voice.finding("the webhook URL can be read", &readable(&now.webhook));
    voice.finding(
        "the redirect URL can be read (not documented)",
        &readable(&now.redirect),
    );
    match page {
        Ok(page) => channels(visit, &page, voice).await?,
        Err(why) => {
            voice.finding(LISTED, &Finding::NotConfirmed(why.to_string()));
            voice.trouble("without a list of channels the bundle confirms no permission: ask 360dialog for it");
        }
    }
    bundle(visit, voice).await;
    outlook(visit, &now, voice).await
}

fn readable(seen: &Seen) -> Finding {
    match seen {
        Seen::Untold(why) => Finding::NotConfirmed(why.clone()),
        Seen::Nothing | Seen::Url(_) => Finding::Confirmed,
    }
}

/// What the bundle relies on in lists of channels and of keys.
async fn channels(
    visit: &mut Visit<'_>,
    page: &Page,
    voice: &mut Voice<'_>,
) -> Result<(), Trouble> {
    voice.finding(LISTED, &Finding::Confirmed);
    let total = match page.total {
        Some(_) => Finding::Confirmed,
        None => Finding::NotConfirmed(
            "it is missing; the bundle reads until a page brings nothing new".to_owned(),
        ),
    };
    voice.finding("the list says its total", &total);
    for (what, path) in [
        ("every channel has an id", &["id"] as &[&str]),
        (
            "every channel names its client (client_id or client.id)",
            &["client_id"],
        ),
        ("every channel has created_at", &["created_at"]),
        ("every channel has hub_status", &["hub_status"]),
        (
            "every channel has integration.state",
            &["integration", "state"],
        ),
    ] {
        voice.finding(what, &everywhere(&page.rows, path));
    }
    let first = page
        .rows
        .iter()
        .find_map(|row| Some((text(row, &["id"])?, client_of(row)?)));
    let Some((id, client)) = first else {
        let none = Finding::Unknown("this account has no channel yet".to_owned());
        for what in [
            "filters by id are honoured",
            "filters by client_id are honoured",
            "keys can be listed",
        ] {
            voice.finding(what, &none);
        }
        return Ok(());
    };
    for (name, value) in [("id", &id), ("client_id", &client)] {
        let finding = filter(visit, page, name, value, voice).await?;
        voice.finding(&format!("filters by {name} are honoured"), &finding);
    }
    if page.rows.len() > 1 {
        let finding = paging(visit, &id, voice).await?;
        voice.finding("limit and offset are honoured", &finding);
    }
    let finding = keys(visit, &id, voice).await?;
    voice.finding("keys can be listed", &finding);
    Ok(())
}

/// Whether all rows have a text at `path`.
fn everywhere(rows: &[Value], path: &[&str]) -> Finding {
    let has = |row: &&Value| {
        if path == ["client_id"] {
            client_of(row).is_some()
        } else {
            text(row, path).is_some()
        }
    };
    let having = rows.iter().filter(has).count();
    match rows.len() {
        0 => Finding::Unknown("this account has no channel yet".to_owned()),
        all if all == having => Finding::Confirmed,
        all => Finding::NotConfirmed(format!("{having} of {all} have it")),
    }
}

/// Whether a filter finds what it names, and nothing else.
async fn filter(
    visit: &mut Visit<'_>,
    page: &Page,
    name: &str,
    value: &str,
    voice: &mut Voice<'_>,
) -> Result<Finding, Trouble> {
    let query = Query {
        limit: PAGE,
        offset: 0,
        filters: Some(json!({name: value})),
    };
    let filtered = match visit.api.channels(&query, voice).await {
        Ok(filtered) => filtered,
        Err(why) => return Ok(refusal(why)?),
    };
    let fits = |row: &&Value| {
        if name == "id" {
            text(row, &["id"])
        } else {
            client_of(row)
        }
        .as_deref()
            == Some(value)
    };
    let (fitting, others) = (
        filtered.rows.iter().filter(fits).count(),
        page.rows.iter().filter(|row| !fits(row)).count(),
    );
    Ok(match (fitting, filtered.rows.len()) {
        (0, _) => {
            voice.trouble("without it the bundle confirms no permission: ask 360dialog how channels are filtered");
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

/// Whether the second page of one is another channel than the first.
async fn paging(
    visit: &mut Visit<'_>,
    first: &str,
    voice: &mut Voice<'_>,
) -> Result<Finding, Trouble> {
    let second = match visit
        .api
        .channels(
            &Query {
                limit: 1,
                offset: 1,
                filters: None,
            },
            voice,
        )
        .await
    {
        Ok(second) => second,
        Err(why) => return Ok(refusal(why)?),
    };
    Ok(match second.rows.as_slice() {
        [row] if text(row, &["id"]).is_some_and(|id| id != first) => Finding::Confirmed,
        _ => Finding::NotConfirmed(
            "the bundle copes, unless there are more channels than fit on a page".to_owned(),
        ),
    })
}

async fn keys(
    visit: &mut Visit<'_>,
    channel: &str,
    voice: &mut Voice<'_>,
) -> Result<Finding, Trouble> {
    let Ok(channel) = channel.parse() else {
        return Ok(Finding::Unknown("no channel with a usable id".to_owned()));
    };
    Ok(match visit.api.count_keys(&channel, voice).await {
        Ok(_) => Finding::Confirmed,
        Err(ApiError::NoSuchThing) => {
            let why = "HTTP 404 or 405; the bundle makes keys only for numbers connected through it (keys_unlisted)";
            Finding::NotConfirmed(why.to_owned())
        }
        Err(why) => refusal(why)?,
    })
}

/// A refusal of one question is a finding; where every other one would be refused too, it is trouble.
fn refusal(why: ApiError) -> Result<Finding, ApiError> {
    match why {
        ApiError::BadCredentials | ApiError::Later(_) | ApiError::Silent => Err(why),
        why => Ok(Finding::NotConfirmed(why.to_string())),
    }
}

/// Whether the bundle is there; a signed event would leave a trace, so none is sent.
async fn bundle(visit: &Visit<'_>, voice: &mut Voice<'_>) {
    let what = "the bundle serves this partner and refuses an unsigned event";
    match visit.probe.refuses_unsigned().await {
        Ok(()) => voice.finding(what, &Finding::Confirmed),
        Err(why) => voice.trouble(&why.to_string()),
    }
    let why = "only connecting sends a signed event, which is kept".to_owned();
    voice.finding(
        "the bundle has this partner's platform secret",
        &Finding::Unknown(why),
    );
    let why = "only a webhook of 360dialog's own can show it".to_owned();
    voice.finding(
        "360dialog signs with this partner's platform secret",
        &Finding::Unknown(why),
    );
}

async fn outlook(visit: &Visit<'_>, now: &Now, voice: &mut Voice<'_>) -> Result<(), Trouble> {
    for words in visit.outlook(now, Foreign::Refuse).await? {
        voice.tell("connecting", &words);
    }
    Ok(())
}

fn client_of(row: &Value) -> Option<String> {
    text(row, &["client_id"]).or_else(|| text(row, &["client", "id"]))
}

fn text(row: &Value, path: &[&str]) -> Option<String> {
    let value = path.iter().try_fold(row, |value, name| value.get(name))?;
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_confirmed_only_where_every_channel_has_it() {
        let rows = [
            json!({"id": "a", "client": {"id": "c"}, "integration": {"state": "running"}}),
            json!({"id": "b"}),
        ];
        assert_eq!(everywhere(&rows, &["id"]), Finding::Confirmed);
        for path in [&["client_id"] as &[&str], &["integration", "state"]] {
            assert_eq!(
                everywhere(&rows, path),
                Finding::NotConfirmed("1 of 2 have it".to_owned())
            );
        }
        assert!(matches!(everywhere(&[], &["id"]), Finding::Unknown(_)));
    }

    #[test]
    fn a_refusal_of_one_question_is_a_finding_and_of_all_is_trouble() {
        for why in [
            ApiError::NoSuchThing,
            ApiError::NotPermitted,
            ApiError::Status(500),
            ApiError::Unclear("x"),
        ] {
            assert!(matches!(refusal(why), Ok(Finding::NotConfirmed(_))));
        }
        for why in [ApiError::BadCredentials, ApiError::Silent] {
            assert_eq!(refusal(why.clone()), Err(why));
        }
    }
}
