//! `GET /{partner_id}/channels` and `GET /{partner_id}/channels/{channel_id}`: the state of the tenant's numbers.
//!
//! Read only, and never a key.

mod page;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::routing::get;
use axum::{Json, RequestPartsExt, Router};
use onboarding::channel::ChannelView;
use onboarding::claim::{Claim, ClaimedView};
use onboarding::id::{ChannelId, PartnerId, Tenant};
use onboarding::problem::Problem;
use platform::http::{Refusal, finish, partner, tenant};
use platform::settings::{Environment, PartnerIds, SettingError};
use platform::store::{Claims, Error, TenantRow};
use serde::Serialize;

use crate::page::{After, Page};

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
    /// `TENANT_CLAIM`
    pub tenant_claim: String,
}

impl Settings {
    /// Reads them; the error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            tenant_claim: env
                .required("TENANT_CLAIM", "Name the JWT claim that holds the tenant.")?,
        })
    }
}

/// What this function may touch.
#[derive(Clone)]
pub struct Channels {
    /// Its settings.
    pub settings: Settings,
    /// The channels, to be read.
    pub channels: platform::store::Channels,
    /// The claims, to be read.
    pub claims: Claims,
}

/// One row of the answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Channel(Box<ChannelView>),
    Claimed(Box<ClaimedView>),
}

#[derive(Serialize)]
struct List {
    channels: Vec<Row>,
    next: Option<String>,
}

/// The routes of this function.
pub fn routes(channels: Channels) -> Router {
    let served = channels.settings.partner_ids.clone();
    let routes = Router::new()
        .route("/{partner_id}/channels", get(list))
        .route("/{partner_id}/channels/{channel_id}", get(one))
        .with_state(Arc::new(channels));
    finish(routes, "channels", served)
}

async fn list(
    State(channels): State<Arc<Channels>>,
    request: Request,
) -> Result<Json<List>, Refusal> {
    channels.list(request).await.map(Json)
}

async fn one(
    State(channels): State<Arc<Channels>>,
    request: Request,
) -> Result<Json<Row>, Refusal> {
    channels.one(request).await.map(Json)
}

impl Channels {
    /// Opens the connection that the first request will need.
    pub async fn warm_up(&self) {
        if let Some(partner) = self.settings.partner_ids.first() {
            self.channels.knock(partner).await;
        }
    }

    async fn list(&self, request: Request) -> Result<List, Refusal> {
        let (mut parts, _) = request.into_parts();
        let partner = partner(&parts, &self.settings.partner_ids)?;
        let tenant = tenant(&mut parts, &self.settings.tenant_claim).await?;
        let query: Query<Vec<(String, String)>> = parts
            .extract()
            .await
            .map_err(|_| Problem::bad_request("The query cannot be read."))?;
        let page = Page::of_query(&query)?;
        Ok(self.page(&partner, &tenant, &page).await?)
    }

    /// Channels come first, by id; behind the last of them the ids that are only claimed, by id.
    async fn page(&self, partner: &PartnerId, tenant: &Tenant, page: &Page) -> Result<List, Error> {
        let limit = page.limit;
        let mut rows: Vec<Row> = Vec::new();
        let mut claims: Option<Vec<Claim>> = None;
        if let After::Claimed(_) = page.after {
            claims = Some(self.claims.open_of_tenant(partner, tenant).await?);
        } else {
            // One more than asked for tells whether there is more.
            let most = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
            let found = self
                .channels
                .of_tenant(partner, tenant, page.after.channel(), most)
                .await?;
            let is_all = found.len() <= limit;
            let mut open = Vec::new();
            for row in found {
                match row {
                    TenantRow::Channel(channel) => {
                        rows.extend(channel.view().map(|view| Row::Channel(Box::new(view))))
                    }
                    TenantRow::Claim(claim) => open.push(*claim),
                }
            }
            if rows.len() > limit {
                rows.truncate(limit);
                return Ok(List {
                    next: rows.last().map(cursor),
                    channels: rows,
                });
            }
            if !is_all {
                open = self.claims.open_of_tenant(partner, tenant).await?;
            }
            if !open.is_empty() {
                claims = Some(open);
            }
        }
        let Some(claims) = claims else {
            return Ok(List {
                channels: rows,
                next: None,
            });
        };
        let mut claimed = self.claimed(partner, tenant, &claims).await?;
        if let After::Claimed(after) = &page.after {
            claimed.retain(|id, _| id > after);
        }
        let left = claimed.len().saturating_add(rows.len()) > limit;
        rows.extend(
            claimed
                .into_values()
                .map(|view| Row::Claimed(Box::new(view))),
        );
        rows.truncate(limit);
        Ok(List {
            next: if left { rows.last().map(cursor) } else { None },
            channels: rows,
        })
    }

    /// The ids that `claims` name and that are not the tenant's channels already; of two claims the later one counts.
    async fn claimed(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        claims: &[Claim],
    ) -> Result<BTreeMap<ChannelId, ClaimedView>, Error> {
        let mut claims: Vec<&Claim> = claims.iter().collect();
        claims.sort_by_key(|claim| claim.received_at);
        let mut views: BTreeMap<ChannelId, ClaimedView> = BTreeMap::new();
        for view in claims.iter().flat_map(|claim| claim.views()) {
            views.insert(view.id.clone(), view);
        }
        let owned = self
            .channels
            .owned(partner, tenant, &views.keys().cloned().collect())
            .await?;
        views.retain(|id, _| !owned.contains(id));
        Ok(views)
    }

    async fn one(&self, request: Request) -> Result<Row, Refusal> {
        let unknown = || Refusal(Problem::not_found("You have no such channel."));
        let (mut parts, _) = request.into_parts();
        let partner = partner(&parts, &self.settings.partner_ids)?;
        let tenant = tenant(&mut parts, &self.settings.tenant_claim).await?;
        let path: Path<HashMap<String, String>> = parts.extract().await.map_err(|_| unknown())?;
        let id: ChannelId = path
            .get("channel_id")
            .and_then(|id| id.parse().ok())
            .ok_or_else(unknown)?;
        let channel = self.channels.read(&partner, &id).await?.channel;
        if let Some(view) = channel.view().filter(|view| view.tenant == tenant) {
            return Ok(Row::Channel(Box::new(view)));
        }
        let mut claims = self.claims.open_of_tenant(&partner, &tenant).await?;
        claims.sort_by_key(|claim| claim.received_at);
        let claimed = claims
            .iter()
            .flat_map(|claim| claim.views())
            .filter(|view| view.id == id)
            .last();
        claimed
            .map(|view| Row::Claimed(Box::new(view)))
            .ok_or_else(unknown)
    }
}

/// Where the page behind `row` starts.
fn cursor(row: &Row) -> String {
    match row {
        Row::Channel(view) => After::Channel(view.id.clone()).to_cursor(),
        Row::Claimed(view) => After::Claimed(view.id.clone()).to_cursor(),
    }
}
