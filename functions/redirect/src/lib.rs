//! `GET /{partner_id}/redirect[/{state}]` and `POST /{partner_id}/redirect`: takes the client's browser back,
//! records what it claims, and hands the result to the front end.
//!
//! It believes nothing but the state: a claim changes no channel until `provision` has asked the hub.

mod page;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, RequestPartsExt, Router};
use onboarding::claim::Claim;
use onboarding::id::PartnerId;
use onboarding::origin::AllowedOrigins;
use onboarding::problem::Problem;
use onboarding::redirect::{RedirectQuery, states};
use onboarding::secret::SigningSecrets;
use onboarding::session::{Session, StateRefused};
use platform::clock;
use platform::http::{Refusal, finish, partner, tenant};
use platform::secrets::PartnerSecrets;
use platform::settings::{Environment, PartnerIds, SettingError};
use platform::store::{Claims, Made};
use serde::Deserialize;

use crate::page::Done;

/// The largest body of a POST that is read, bytes: a query of 90 ids and a state fit in many times over.
const LARGEST_BODY: usize = 64 * 1024;

/// The one answer to every state that cannot be used.
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
    /// Reads them; the error names the one that is missing or malformed.
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

/// What this function may touch.
#[derive(Clone)]
pub struct Redirect {
    /// Its settings.
    pub settings: Settings,
    /// Where claims are recorded.
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

async fn come_back(State(redirect): State<Arc<Redirect>>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let reader = Reader::of(&parts.headers);
    redirect
        .come_back(&mut parts, reader)
        .await
        .unwrap_or_else(|refusal| reader.refuse(refusal))
}

async fn hand_in(
    State(redirect): State<Arc<Redirect>>,
    request: Request,
) -> Result<Json<RedirectQuery>, Refusal> {
    redirect.hand_in(request).await.map(Json)
}

/// Who reads the answer of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A browser: a page or a way on.
    Person,
    /// `Accept: application/json`
    Program,
}

impl Reader {
    fn of(headers: &HeaderMap) -> Self {
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
            // An address that does not exist is for whoever wrote it.
            Self::Person if refusal.0.status == 404 => refusal.into_response(),
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
    /// Opens the connections and reads the secrets that the first request will need.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let knock = async {
            if let Some(partner) = partners.first() {
                self.claims.knock(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), knock);
    }

    /// A browser came back from the hub.
    async fn come_back(&self, parts: &mut Parts, reader: Reader) -> Result<Response, Refusal> {
        let partner = partner(parts, &self.settings.partner_ids)?;
        let path: Path<HashMap<String, String>> = parts
            .extract()
            .await
            .map_err(|_| Problem::bad_request(BAD_STATE))?;
        let query_text = parts.uri.query().unwrap_or_default();
        let in_path = path.get("state").filter(|state| !state.is_empty()).cloned();
        let Some(state) = the_state(states(query_text).into_iter().chain(in_path))? else {
            return Ok(self.without_a_state(parse(query_text)?, reader));
        };
        let session = self.session(&partner, &state).await?;
        let query = parse(query_text)?;
        let query = self
            .record(Claim::of_session(&session, &query, clock::now()), query)
            .await?;
        Ok(answer(&session, &query, reader))
    }

    /// A caller whose own page is the redirect URL hands in what its browser came back with.
    async fn hand_in(&self, request: Request) -> Result<RedirectQuery, Refusal> {
        let (mut parts, body) = request.into_parts();
        let partner = partner(&parts, &self.settings.partner_ids)?;
        let tenant = tenant(&mut parts, &self.settings.tenant_claim).await?;
        let handed_in = read(body).await?;
        let state = the_state(states(&handed_in.query).into_iter())?;
        let Some(state) = state else {
            let query = parse(&handed_in.query)?;
            return self
                .record(
                    Claim::of_caller(&partner, &tenant, &query, clock::now()),
                    query,
                )
                .await;
        };
        let session = self.session(&partner, &state).await?;
        if session.tenant != tenant {
            return Err(bad_state());
        }
        let query = parse(&handed_in.query)?;
        self.record(Claim::of_session(&session, &query, clock::now()), query)
            .await
    }

    /// The session that a state names; after a mismatch the secret is read again, in case it was rotated.
    async fn session(&self, partner: &PartnerId, state: &str) -> Result<Session, Refusal> {
        let now = clock::now();
        let secrets = self.secrets.of(partner).await?;
        let session = match Session::open(state, partner, &secrets.accepted(now), now) {
            Err(StateRefused::Forged) => {
                let reread = self.secrets.reread(partner).await?;
                Session::open(state, partner, &reread.accepted(now), now)
            }
            session => session,
        };
        session.map_err(|_| bad_state())
    }

    /// Records a claim and answers what is recorded; a cancelled visit claims nothing and uses nothing up.
    async fn record(
        &self,
        claim: Option<Claim>,
        query: RedirectQuery,
    ) -> Result<RedirectQuery, Refusal> {
        let Some(claim) = claim else { return Ok(query) };
        match self.claims.make(&claim).await? {
            Made::New => Ok(query),
            Made::SameAgain(first) => {
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
            Made::SomethingElse => Err(bad_state()),
        }
    }

    /// The link was opened without `sign`: nothing is recorded; the only page there is may hand it in itself.
    fn without_a_state(&self, query: RedirectQuery, reader: Reader) -> Response {
        match reader {
            Reader::Program => Json(query).into_response(),
            Reader::Person => {
                page::hand_over(&query, self.settings.allowed_origins.only(), Done::Nothing)
            }
        }
    }
}

fn answer(session: &Session, query: &RedirectQuery, reader: Reader) -> Response {
    if reader == Reader::Program {
        return Json(query).into_response();
    }
    let Some(return_to) = &session.return_to else {
        return page::hand_over(query, Some(&session.origin), Done::Recorded);
    };
    match HeaderValue::try_from(query.append_to(return_to)) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => page::hand_over(query, Some(&session.origin), Done::Recorded),
    }
}

fn bad_state() -> Refusal {
    Problem::bad_request(BAD_STATE).into()
}

/// The one state that is given, if any; two different ones are none that could be trusted.
fn the_state(states: impl Iterator<Item = String>) -> Result<Option<String>, Refusal> {
    let states: BTreeSet<String> = states.collect();
    if states.len() > 1 {
        return Err(bad_state());
    }
    Ok(states.into_iter().next())
}

fn parse(query: &str) -> Result<RedirectQuery, Refusal> {
    RedirectQuery::parse(query)
        .map_err(|why| Problem::bad_request(format!("The query cannot be read: {why}")).into())
}

async fn read(body: Body) -> Result<HandedIn, Refusal> {
    let body = to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| Problem::too_large(LARGEST_BODY))?;
    let form = "Send {\"query\": \"?client=…&channels=[…]&state=…\"} as JSON, the query as your page received it.";
    // serde would take a list for an object too.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let handed_in = is_object
        .then(|| serde_json::from_slice(&body).ok())
        .flatten();
    handed_in.ok_or_else(|| Problem::bad_request(form).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_gets_json() {
        let reader = |accept: &'static str| {
            Reader::of(&HeaderMap::from_iter([(
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
        assert_eq!(Reader::of(&HeaderMap::new()), Reader::Person);
    }

    #[test]
    fn two_different_states_are_refused_and_the_same_twice_is_one() {
        let state = |states: &[&str]| the_state(states.iter().map(|state| (*state).to_owned()));
        assert_eq!(state(&[]).unwrap(), None);
        assert_eq!(state(&["a", "a"]).unwrap(), Some("a".to_owned()));
        assert_eq!(state(&["a", "b"]).unwrap_err().0.status, 400);
    }
}
