//! `GET /{partner_id}/channels` and `GET /{partner_id}/channels/{channel_id}`: the state of the tenant's numbers.
//!
//! It only reads, and never reads a key.

mod page;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use dialog360::id::{ChannelId, ChannelRef, PartnerId};
use onboarding::channel::ChannelView;
use onboarding::claim::Claim;
use onboarding::tenant::Tenant;
use runtime::http::{
    CallerTenant, Parameters, Partner, PartnerState, Problem, Refusal, TenantState, finish,
};
use runtime::settings::{Environment, PartnerIds, SettingError};
use serde::Serialize;
use store::{Claims, Error, TenantRow};

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
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            tenant_claim: env
                .required("TENANT_CLAIM", "Name the JWT claim that holds the tenant.")?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Channels {
    /// Its settings.
    pub settings: Settings,
    /// The channels, which it reads.
    pub channels: store::Channels,
    /// The claims, which it reads.
    pub claims: Claims,
}

#[derive(Serialize)]
struct List {
    channels: Vec<ChannelView>,
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

impl PartnerState for Channels {
    fn partner_ids(&self) -> &PartnerIds {
        &self.settings.partner_ids
    }
}

impl TenantState for Channels {
    fn tenant_claim(&self) -> &str {
        &self.settings.tenant_claim
    }
}

async fn list(
    State(channels): State<Arc<Channels>>,
    Partner(partner): Partner,
    CallerTenant(tenant): CallerTenant,
    parameters: Parameters,
) -> Result<Json<List>, Refusal> {
    let page = Page::parse(&parameters.0)?;
    Ok(Json(channels.page(&partner, &tenant, &page).await?))
}

async fn one(
    State(channels): State<Arc<Channels>>,
    Partner(partner): Partner,
    CallerTenant(tenant): CallerTenant,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<ChannelView>, Refusal> {
    let id = path.ok().and_then(|Path((_, id))| id.parse().ok());
    let found = match id {
        Some(id) => channels.one(&ChannelRef::new(partner, id), &tenant).await?,
        None => None,
    };
    let unknown = || Problem::not_found("You have no such channel.");
    Ok(Json(found.ok_or_else(unknown)?))
}

impl Channels {
    /// Opens the connection that the first request needs.
    pub async fn warm_up(&self) {
        if let Some(partner) = self.settings.partner_ids.first() {
            self.channels.preconnect(partner).await;
        }
    }

    /// A page of the list: first the channels by id, then the ids that are only claimed, by id.
    async fn page(&self, partner: &PartnerId, tenant: &Tenant, page: &Page) -> Result<List, Error> {
        let After::Claimed(after) = &page.after else {
            return self.page_from_channels(partner, tenant, page).await;
        };
        let claims = self.claims.open_of_tenant(partner, tenant).await?;
        let mut claimed = self.claimed(partner, tenant, &claims).await?;
        claimed.retain(|id, _| id > after);
        Ok(with_claimed(Vec::new(), claimed, page.limit))
    }

    async fn page_from_channels(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        page: &Page,
    ) -> Result<List, Error> {
        let limit = page.limit;
        // Reads one row more than the limit, to see whether there is another page.
        let most = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
        let found = self
            .channels
            .list_for_tenant(partner, tenant, page.after.channel(), most)
            .await?;
        let is_last_page = found.len() <= limit;
        let (mut rows, mut open) = (Vec::new(), Vec::new());
        for row in found {
            match row {
                TenantRow::Channel(channel) => rows.extend(channel.view()),
                TenantRow::Claim(claim) => open.push(*claim),
            }
        }
        if rows.len() > limit {
            rows.truncate(limit);
            let next = rows
                .last()
                .map(|last| After::Channel(last.id.clone()).to_cursor());
            return Ok(List {
                channels: rows,
                next,
            });
        }
        if !is_last_page {
            open = self.claims.open_of_tenant(partner, tenant).await?;
        }
        let claimed = self.claimed(partner, tenant, &open).await?;
        Ok(with_claimed(rows, claimed, limit))
    }

    /// The ids in `claims` that are not channels of the tenant yet. If two claims name an id, the later one counts.
    async fn claimed(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        claims: &[Claim],
    ) -> Result<BTreeMap<ChannelId, ChannelView>, Error> {
        let mut claims: Vec<&Claim> = claims.iter().collect();
        claims.sort_by_key(|claim| claim.received_at);
        let mut views: BTreeMap<ChannelId, ChannelView> = BTreeMap::new();
        for view in claims.iter().flat_map(|claim| claim.views()) {
            views.insert(view.id.clone(), view);
        }
        let owned = self
            .channels
            .owned_by(partner, tenant, &views.keys().cloned().collect())
            .await?;
        views.retain(|id, _| !owned.contains(id));
        Ok(views)
    }

    /// A channel of the tenant, or an id in its open claims. If two claims name it, the later one counts.
    async fn one(&self, id: &ChannelRef, tenant: &Tenant) -> Result<Option<ChannelView>, Error> {
        let channel = self.channels.read(id).await?.channel;
        if let Some(view) = channel.view().filter(|view| view.tenant == *tenant) {
            return Ok(Some(view));
        }
        let mut claims = self.claims.open_of_tenant(&id.partner, tenant).await?;
        claims.sort_by_key(|claim| claim.received_at);
        let views = claims.iter().flat_map(|claim| claim.views());
        Ok(views.filter(|view| view.id == id.channel).last())
    }
}

/// The page with `rows`, the last channels, followed by `claimed`.
fn with_claimed(
    mut rows: Vec<ChannelView>,
    claimed: BTreeMap<ChannelId, ChannelView>,
    limit: usize,
) -> List {
    let channels = rows.len();
    let is_cut = claimed.len().saturating_add(channels) > limit;
    rows.extend(claimed.into_values());
    rows.truncate(limit);
    let cursor = |last: &ChannelView| match rows.len() > channels {
        true => After::Claimed(last.id.clone()),
        false => After::Channel(last.id.clone()),
    };
    let next = rows.last().filter(|_| is_cut).map(cursor);
    List {
        next: next.map(|after| after.to_cursor()),
        channels: rows,
    }
}
