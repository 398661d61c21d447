//! `GET /{partner_id}/redirect[/{state}]` and `POST /{partner_id}/redirect`: receives the client's browser
//! after the onboarding, records the claim, and passes the result on to the front end.
//!
//! It trusts only the state. A claim changes no channel until `provision` has confirmed it at 360dialog.

mod page;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dialog360::id::PartnerId;
use dialog360::redirect::{RedirectQuery, states};
use onboarding::claim::Claim;
use onboarding::origin::AllowedOrigins;
use onboarding::secret::SigningSecrets;
use onboarding::session::{Session, StateRefused};
use onboarding::tenant::Tenant;
use runtime::clock;
use runtime::http::{
    CallerTenant, LimitedBody, Partner, PartnerState, Problem, Refusal, TenantState, finish,
};
use runtime::secrets::PartnerSecrets;
use runtime::settings::{Environment, PartnerIds, SettingError};
use serde::Deserialize;
use store::{Claims, Recorded};

use crate::page::Done;

/// The largest body of a POST, bytes: many times the size of a query with 90 ids and a state.
const LARGEST_BODY: usize = 64 * 1024;

/// The same answer to every state that cannot be used.
const BAD_STATE: &str = "This link cannot be used: it is not one of ours, is too old, or was used for something else. \
                         Close this window and start again.";

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
    /// `ALLOWED_ORIGINS`
    pub allowed_origins: AllowedOrigins,
    /// `TENANT_CLAIM`
    pub tenant_claim: String,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            allowed_origins: env.required(
                "ALLOWED_ORIGINS",
                "Name the origins of your pages, comma separated.",
            )?,
            tenant_claim: env
                .required("TENANT_CLAIM", "Name the JWT claim that holds the tenant.")?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Redirect {
    /// Its settings.
    pub settings: Settings,
    /// The claims, which it records.
    pub claims: Claims,
    /// The platform secret.
    pub secrets: PartnerSecrets<SigningSecrets>,
}

/// The routes of this function.
pub fn routes(redirect: Redirect) -> Router {
    let served = redirect.settings.partner_ids.clone();
    let routes = Router::new()
        .route("/{partner_id}/redirect", get(come_back).post(hand_in))
        .route("/{partner_id}/redirect/", get(come_back))
        .route("/{partner_id}/redirect/{state}", get(come_back))
        .with_state(Arc::new(redirect));
    finish(routes, "redirect", served)
}

impl PartnerState for Redirect {
    fn partner_ids(&self) -> &PartnerIds {
        &self.settings.partner_ids
    }
}

impl TenantState for Redirect {
    fn tenant_claim(&self) -> &str {
        &self.settings.tenant_claim
    }
}

/// Handles GET: 360dialog redirected the browser here.
async fn come_back(
    State(redirect): State<Arc<Redirect>>,
    Partner(partner): Partner,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let reader = Reader::from_headers(&headers);
    let (path, query) = (path.ok().map(|Path(path)| path), query.unwrap_or_default());
    redirect
        .come_back(&partner, path, &query, reader)
        .await
        .unwrap_or_else(|refusal| reader.refuse(refusal))
}

/// Handles POST: the caller's own page is the redirect URL, and hands in the query it received.
async fn hand_in(
    State(redirect): State<Arc<Redirect>>,
    Partner(partner): Partner,
    CallerTenant(tenant): CallerTenant,
    LimitedBody(body): LimitedBody<LARGEST_BODY>,
) -> Result<Json<RedirectQuery>, Refusal> {
    let handed_in = parse_body(&body)?;
    redirect
        .hand_in(partner, tenant, &handed_in.query)
        .await
        .map(Json)
}

/// Who reads the answer of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A browser: gets a page or a redirect.
    Person,
    /// `Accept: application/json`
    Program,
}

impl Reader {
    fn from_headers(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default();
        let types = || {
            accept
                .split(',')
                .filter_map(|range| range.split(';').next())
                .map(str::trim)
        };
        let named = |name: &str| types().any(|range| range.eq_ignore_ascii_case(name));
        if named("application/json") && !named("text/html") {
            Self::Program
        } else {
            Self::Person
        }
    }

    fn refuse(self, refusal: Refusal) -> Response {
        match self {
            Self::Program => refusal.into_response(),
            Self::Person => page::refused(&refusal.0),
        }
    }
}

/// The body of a POST.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandedIn {
    query: String,
}

impl Redirect {
    /// Opens the connection and reads the secrets that the first request needs.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let preconnect = async {
            if let Some(partner) = partners.first() {
                self.claims.preconnect(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), preconnect);
    }

    async fn come_back(
        &self,
        partner: &PartnerId,
        path: Option<HashMap<String, String>>,
        query: &str,
        reader: Reader,
    ) -> Result<Response, Refusal> {
        let mut path = path.ok_or_else(bad_state)?;
        let in_path = path.remove("state").filter(|state| !state.is_empty());
        let Some(state) = single_state(states(query).into_iter().chain(in_path))? else {
            return Ok(self.answer_without_state(parse_query(query)?, reader));
        };
        let session = self.session(partner, &state).await?;
        let query = parse_query(query)?;
        let claim = Claim::from_session(&session, &query, clock::now());
        let query = self.record(claim, query).await?;
        Ok(self.answer(&session, &query, reader))
    }

    async fn hand_in(
        &self,
        partner: PartnerId,
        tenant: Tenant,
        text: &str,
    ) -> Result<RedirectQuery, Refusal> {
        let Some(state) = single_state(states(text).into_iter())? else {
            let query = parse_query(text)?;
            let claim = Claim::from_caller(&partner, &tenant, &query, clock::now());
            return self.record(claim, query).await;
        };
        let session = self.session(&partner, &state).await?;
        if session.tenant != tenant {
            return Err(bad_state());
        }
        let query = parse_query(text)?;
        let claim = Claim::from_session(&session, &query, clock::now());
        self.record(claim, query).await
    }

    /// The session in a state. If the signature does not match, the secret is read again, since it may have been
    /// rotated.
    async fn session(&self, partner: &PartnerId, state: &str) -> Result<Session, Refusal> {
        let now = clock::now();
        let secrets = self.secrets.get(partner).await?;
        let table = &self.settings.table_name;
        let session = match Session::open(state, partner, &secrets.accepted(now), table, now) {
            Err(StateRefused::Forged) => {
                let reread = self.secrets.reread(partner).await?;
                Session::open(state, partner, &reread.accepted(now), table, now)
            }
            session => session,
        };
        session.map_err(|_| bad_state())
    }

    /// Records a claim and returns the recorded one. A cancelled session has no claim, so its state can still be used.
    async fn record(
        &self,
        claim: Option<Claim>,
        query: RedirectQuery,
    ) -> Result<RedirectQuery, Refusal> {
        let Some(claim) = claim else { return Ok(query) };
        match self.claims.record(&claim).await? {
            Recorded::New => Ok(query),
            Recorded::Same(first) => {
                let Claim {
                    client,
                    channels,
                    revoked,
                    ..
                } = *first;
                Ok(RedirectQuery {
                    client: Some(client),
                    channels,
                    revoked,
                })
            }
            Recorded::Different => Err(bad_state()),
        }
    }

    /// Answers a redirect whose claim is recorded. An origin that was allowed when the link was made, and is no longer,
    /// gets no redirect and no message.
    fn answer(&self, session: &Session, query: &RedirectQuery, reader: Reader) -> Response {
        if reader == Reader::Program {
            return Json(query).into_response();
        }
        let allowed = &self.settings.allowed_origins;
        let origin = Some(&session.origin).filter(|origin| allowed.contains(origin));
        let return_to = session.return_to.as_ref();
        let Some(return_to) = return_to.filter(|to| allowed.contains(&to.origin())) else {
            return page::hand_over(query, origin, Done::Recorded);
        };
        match HeaderValue::try_from(query.append_to(return_to.as_str())) {
            Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
            Err(_) => page::hand_over(query, origin, Done::Recorded),
        }
    }

    /// Answers a redirect without a state, from a link that `sign` did not make. Nothing is recorded. If there is only
    /// one allowed origin, its page gets the result and may hand it in.
    fn answer_without_state(&self, query: RedirectQuery, reader: Reader) -> Response {
        match reader {
            Reader::Program => Json(query).into_response(),
            Reader::Person => {
                page::hand_over(&query, self.settings.allowed_origins.only(), Done::Nothing)
            }
        }
    }
}

fn bad_state() -> Refusal {
    Problem::bad_request(BAD_STATE).into()
}

/// The state, if one is given. Two different states are refused.
fn single_state(states: impl Iterator<Item = String>) -> Result<Option<String>, Refusal> {
    let states: BTreeSet<String> = states.collect();
    if states.len() > 1 {
        return Err(bad_state());
    }
    Ok(states.into_iter().next())
}

fn parse_query(query: &str) -> Result<RedirectQuery, Refusal> {
    RedirectQuery::parse(query)
        .map_err(|why| Problem::bad_request(format!("The query cannot be read: {why}")).into())
}

fn parse_body(body: &[u8]) -> Result<HandedIn, Refusal> {
    let form = "Send {\"query\": \"?client=…&channels=[…]&state=…\"} as JSON, the query as your page received it.";
    // serde would also accept a list for the struct.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let handed_in = is_object
        .then(|| serde_json::from_slice(body).ok())
        .flatten();
    handed_in.ok_or_else(|| Problem::bad_request(form).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accept_json_without_html_gets_json() {
        let reader = |accept: &'static str| {
            Reader::from_headers(&HeaderMap::from_iter([(
                ACCEPT,
                HeaderValue::from_static(accept),
            )]))
        };
        assert_eq!(reader("application/json"), Reader::Program);
        assert_eq!(reader("Application/JSON;q=0.9, */*"), Reader::Program);
        assert_eq!(
            reader("text/html,application/xhtml+xml,application/json;q=0.9"),
            Reader::Person
        );
        assert_eq!(reader("*/*"), Reader::Person);
        assert_eq!(Reader::from_headers(&HeaderMap::new()), Reader::Person);
    }

    #[test]
    fn two_different_states_are_refused_and_the_same_twice_is_one() {
        let state = |states: &[&str]| single_state(states.iter().map(|state| (*state).to_owned()));
        assert_eq!(state(&[]).unwrap(), None);
        assert_eq!(state(&["a", "a"]).unwrap(), Some("a".to_owned()));
        assert_eq!(state(&["a", "b"]).unwrap_err().0.status, 400);
    }
}
