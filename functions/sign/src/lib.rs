//! `GET /{partner_id}/sign`: takes an unused second, signs it, and makes the state token of the session.
//!
//! It stores only the second. No two answers have the same second: an IO signature covers only partner and second, and
//! 360dialog accepts each signature once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{Extensions, HeaderMap};
use axum::routing::get;
use axum::{Json, Router};
use dialog360::id::PartnerId;
use dialog360::io_signature::{IoEncoding, sign_io};
use jiff::{SignedDuration, Timestamp};
use onboarding::origin::{AllowedOrigins, Origin, ReturnTo};
use onboarding::secret::SigningSecrets;
use onboarding::session::Session;
use onboarding::tenant::Tenant;
use runtime::clock;
use runtime::http::{
    CallerTenant, GatewayDomain, Parameters, Partner, PartnerState, Problem, Refusal, TenantState,
    finish,
};
use runtime::metric::Metric;
use runtime::secrets::PartnerSecrets;
use runtime::settings::{BaseUrl, Environment, PartnerIds, SettingError};
use serde::{Serialize, Serializer};
use store::{IoTimestamps, Taken};
use url::form_urlencoded;

/// How long a signature is valid: 24 hours, as 360dialog documents.
const SIGNATURE_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The address of the onboarding, unless `ONBOARDING_URL` says otherwise.
const ONBOARDING_URL: &str = "https://hub.360dialog.com/dashboard/app/{partner_id}/permissions";

/// The parameters of 360dialog's own that a caller may add to the link.
/// Source: <https://docs.360dialog.com/partner/onboarding/integrated-onboarding>.
const LINK_PARAMETERS: [&str; 7] = [
    "email",
    "name",
    "number",
    "lang",
    "plan_selection",
    "next",
    "partner",
];

/// The parameters of `sign` itself; `tenant` is the caller's, which [`CallerTenant`] checks.
const OWN_PARAMETERS: [&str; 2] = ["return_to", "tenant"];

/// The most characters of one of [`LINK_PARAMETERS`].
const LONGEST_PARAMETER: usize = 256;

/// How many seconds back a free second may lie, unless `IO_TIMESTAMP_WINDOW` says otherwise.
const WINDOW: i64 = 300;

/// The largest window, s: half of a signature's life, so that every link can still be used for hours.
const WIDEST_WINDOW: i64 = 12 * 3600;

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TABLE_NAME`
    pub table_name: String,
    /// `PARTNER_IDS`
    pub partner_ids: PartnerIds,
    /// `ONBOARDING_URL`
    pub onboarding_url: BaseUrl,
    /// `PUBLIC_URL`; if it is not set, the gateway's own domain is used.
    pub public_url: Option<BaseUrl>,
    /// `ALLOWED_ORIGINS`
    pub allowed_origins: AllowedOrigins,
    /// `IO_SIGNATURE_ENCODING`
    pub encoding: IoEncoding,
    /// `IO_TIMESTAMP_WINDOW`, s.
    pub window: i64,
    /// `TENANT_CLAIM`
    pub tenant_claim: String,
}

impl Settings {
    /// Reads the settings. The error names the one that is missing or malformed.
    pub fn from_env(env: &Environment) -> Result<Self, SettingError> {
        let window = env.optional("IO_TIMESTAMP_WINDOW")?.unwrap_or(WINDOW);
        if !(0..=WIDEST_WINDOW).contains(&window) {
            let why = format!("it must be 0 to {WIDEST_WINDOW} seconds");
            return Err(SettingError::malformed("IO_TIMESTAMP_WINDOW", why));
        }
        let onboarding_url = env.text("ONBOARDING_URL").unwrap_or(ONBOARDING_URL).parse();
        Ok(Self {
            table_name: env.required("TABLE_NAME", "Name the DynamoDB table.")?,
            partner_ids: env.partner_ids()?,
            onboarding_url: onboarding_url
                .map_err(|why| SettingError::malformed("ONBOARDING_URL", why))?,
            public_url: env.optional("PUBLIC_URL")?,
            allowed_origins: env.required(
                "ALLOWED_ORIGINS",
                "Name the origins of your pages, comma separated.",
            )?,
            encoding: env.optional("IO_SIGNATURE_ENCODING")?.unwrap_or_default(),
            window,
            tenant_claim: env
                .required("TENANT_CLAIM", "Name the JWT claim that holds the tenant.")?,
        })
    }
}

/// The handles of this function: everything it may read or write.
#[derive(Clone)]
pub struct Sign {
    /// Its settings.
    pub settings: Settings,
    /// The unique seconds.
    pub timestamps: IoTimestamps,
    /// The platform secret.
    pub secrets: PartnerSecrets<SigningSecrets>,
}

/// The answer of `sign`.
#[derive(Serialize)]
struct Signed {
    partner_id: PartnerId,
    signature: String,
    timestamp: i64,
    state: String,
    expires_at: Timestamp,
    url: String,
    query_parameters: QueryParameters,
}

/// The query parameters of the link, all as texts; the stock Connect Button takes them as they are.
struct QueryParameters(Vec<(&'static str, String)>);

impl Serialize for QueryParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The routes of this function.
pub fn routes(sign: Sign) -> Router {
    let served = sign.settings.partner_ids.clone();
    finish(
        Router::new()
            .route("/{partner_id}/sign", get(answer))
            .with_state(Arc::new(sign)),
        "sign",
        served,
    )
}

impl PartnerState for Sign {
    fn partner_ids(&self) -> &PartnerIds {
        &self.settings.partner_ids
    }
}

impl TenantState for Sign {
    fn tenant_claim(&self) -> &str {
        &self.settings.tenant_claim
    }
}

async fn answer(
    State(sign): State<Arc<Sign>>,
    Partner(partner): Partner,
    CallerTenant(tenant): CallerTenant,
    parameters: Parameters,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Json<Signed>, Refusal> {
    let asked = link_parameters(&parameters)?;
    let return_to = sign.return_to(&parameters)?;
    let origin = sign.origin(&headers, return_to.as_ref())?;
    let public_url = sign.public_url(extensions.get())?;
    let secrets = sign.secrets.get(&partner).await?;
    let now = clock::now();
    let session = Session {
        second: sign.take_second(&partner, &tenant, now).await?,
        partner,
        tenant,
        issued_at: now,
        origin,
        return_to,
    };
    Metric::Signatures.count();
    Ok(Json(sign.signed(&session, &secrets, &public_url, asked)))
}

/// The parameters that the caller adds to the link. A parameter that `sign` does not know is refused: it would be lost.
fn link_parameters(parameters: &Parameters) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in &parameters.0 {
        if OWN_PARAMETERS.contains(&name.as_str()) {
            continue;
        }
        let known = LINK_PARAMETERS.into_iter().find(|known| known == name);
        let known = known.ok_or_else(unknown_parameter)?;
        if found.iter().any(|(other, _)| *other == known) {
            return Err(Problem::bad_request(format!("Give {known} once.")));
        }
        if value.chars().nth(LONGEST_PARAMETER).is_some() {
            let detail = format!("{known} may have at most {LONGEST_PARAMETER} characters.");
            return Err(Problem::bad_request(detail));
        }
        found.push((known, value.clone()));
    }
    Ok(found)
}

fn unknown_parameter() -> Problem {
    Problem::bad_request(format!(
        "Leave out every parameter but return_to, {}.",
        LINK_PARAMETERS.join(", ")
    ))
}

impl Sign {
    /// Opens the connection and reads the secrets that the first request needs.
    pub async fn warm_up(&self) {
        let partners = &self.settings.partner_ids;
        let preconnect = async {
            if let Some(partner) = partners.first() {
                self.timestamps.preconnect(partner).await;
            }
        };
        tokio::join!(self.secrets.warm_up(partners), preconnect);
    }

    fn return_to(&self, parameters: &Parameters) -> Result<Option<ReturnTo>, Problem> {
        let given: Vec<&str> = parameters.values("return_to").collect();
        let raw = match given.as_slice() {
            [] => return Ok(None),
            [raw] => raw,
            _ => return Err(Problem::bad_request("Give return_to once.")),
        };
        let return_to = ReturnTo::parse(raw, &self.settings.allowed_origins);
        let refused = |why| Problem::bad_request(format!("return_to cannot be used: {why}"));
        return_to.map(Some).map_err(refused)
    }

    /// The page's origin: the `Origin` header if it is allowed, else that of `return_to`, else the only allowed one.
    fn origin(&self, headers: &HeaderMap, return_to: Option<&ReturnTo>) -> Result<Origin, Problem> {
        let allowed = &self.settings.allowed_origins;
        let header = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let from_header = header
            .and_then(Origin::from_header)
            .filter(|origin| allowed.contains(origin));
        let origin = from_header
            .or_else(|| return_to.map(ReturnTo::origin))
            .or_else(|| allowed.only().cloned());
        origin.ok_or_else(|| {
            let detail =
                "add return_to: several origins are allowed and the request does not say which page it is for.";
            Problem::bad_request(detail)
        })
    }

    fn public_url(&self, gateway: Option<&GatewayDomain>) -> Result<String, Problem> {
        match (&self.settings.public_url, gateway) {
            (Some(public_url), _) => Ok(public_url.as_str().to_owned()),
            (None, Some(GatewayDomain(domain))) => Ok(format!("https://{domain}")),
            (None, None) => {
                tracing::error!(
                    "PUBLIC_URL is empty and the request does not come through a gateway"
                );
                Err(Problem::unavailable())
            }
        }
    }

    async fn take_second(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Result<i64, Refusal> {
        let (now, window) = (now.as_second(), self.settings.window);
        let taken = self.timestamps.take(partner, tenant, now, window).await?;
        let (seconds, detail) = match taken {
            Taken::Second(second) => return Ok(second),
            Taken::NoneFor(seconds) => (
                seconds,
                "Every second up to now is signed: one link per second can be made. Ask again later.",
            ),
            Taken::NoTurnFor(seconds) => (
                seconds,
                "Many links are made right now, and each tenant gets one every ten seconds. Ask again later.",
            ),
        };
        Err(Problem::too_many(seconds, detail).into())
    }

    /// The answer, with the parameters that the caller has `asked` for in the link.
    fn signed(
        &self,
        session: &Session,
        secrets: &SigningSecrets,
        public_url: &str,
        asked: Vec<(&'static str, String)>,
    ) -> Signed {
        let (partner, second) = (&session.partner, session.second);
        let signature = sign_io(secrets.current(), partner, second, self.settings.encoding);
        let state = session
            .seal(secrets.current(), &self.settings.table_name)
            .as_str()
            .to_owned();
        let redirect_url = format!("{public_url}/{partner}/redirect/{state}");
        let mut query_parameters = vec![
            ("io_signature", signature.clone()),
            ("io_timestamp", second.to_string()),
            ("state", state.clone()),
            ("redirect_url", redirect_url),
        ];
        query_parameters.extend(asked);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&query_parameters)
            .finish();
        let onboarding_url = self
            .settings
            .onboarding_url
            .as_str()
            .replace("{partner_id}", partner.as_str());
        let signed_at = Timestamp::from_second(second).unwrap_or_default();
        Signed {
            partner_id: partner.clone(),
            signature,
            timestamp: second,
            state,
            expires_at: signed_at
                .saturating_add(SIGNATURE_LIFE)
                .unwrap_or(signed_at),
            url: format!("{onboarding_url}?{query}"),
            query_parameters: QueryParameters(query_parameters),
        }
    }
}
