//! `GET /{partner_id}/channels` and `GET /{partner_id}/channels/{channel_id}`: the state of the tenant's numbers.
//!
//! It only reads, and never reads a key.

mod listing;
mod page;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use dialog360::id::{ChannelRef, PartnerId};
use onboarding::channel::ChannelView;
use onboarding::tenant::Tenant;
use runtime::http::{
    CallerTenant, Parameters, Partner, PartnerState, Problem, Refusal, TenantState, finish,
};
use runtime::settings::{Environment, PartnerIds, SettingError};
use store::table::prefix;
use store::{ClaimedIds, Error, PageStart, TenantRow};

use crate::listing::{List, Listing};
use crate::page::Page;

/// How often one request for a list asks the index.
const MOST_QUERIES: usize = 2;

/// How many claims that are not registered yet are searched for one id: they are registered within a second.
const NEW_CLAIMS: i32 = 25;

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
    /// The claimed ids, which it reads.
    pub claimed: ClaimedIds,
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

    /// A page of the list. It costs at most two queries and one batch of channels, however many rows there are: it may
    /// hold fewer ids than asked for, even none, although others follow.
    async fn page(&self, partner: &PartnerId, tenant: &Tenant, page: &Page) -> Result<List, Error> {
        let mut listing = Listing::new(page);
        for _ in 0..MOST_QUERIES {
            let (start, rows) = listing.wants();
            let rows = self.channels.list_for_tenant(partner, tenant, &start, rows);
            listing.add(rows.await?);
            if listing.is_complete() {
                break;
            }
        }
        let claimed = listing.claimed();
        let owned = self.channels.owned_by(partner, tenant, &claimed).await?;
        Ok(listing.into_list(&owned))
    }

    /// A channel of the tenant, or an id that an open claim of it names. One read, or two: one of claims that nobody but
    /// the door has seen yet.
    async fn one(&self, id: &ChannelRef, tenant: &Tenant) -> Result<Option<ChannelView>, Error> {
        let (channel, claimed) = self.claimed.read_with_channel(id, tenant).await?;
        let own = channel.view().filter(|view| view.tenant == *tenant);
        if let Some(view) = own.or(claimed) {
            return Ok(Some(view));
        }
        let start = PageStart::At(format!("{}#", prefix::CLAIM));
        let page = self
            .channels
            .list_for_tenant(&id.partner, tenant, &start, NEW_CLAIMS);
        let views = page.await?.rows.into_iter().flat_map(|row| match row {
            TenantRow::Claim(claim) => claim.views().collect(),
            _ => Vec::new(),
        });
        Ok(views
            .filter(|view| view.id == id.channel)
            .max_by_key(|view| view.updated_at))
    }
}
