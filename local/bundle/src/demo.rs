//! The demo: a page that connects numbers and shows their state, and a page for each way to begin an onboarding.
//!
//! For one machine only: anybody who can reach `/_demo/session` gets a token. The pages call the functions like any
//! other front end.

mod files;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use dialog360::id::PartnerId;
use serde::Serialize;
use url::Url;

use files::{FILES, File, JAVASCRIPT, PACKAGES, PAGES};

/// The folder of the npm packages.
const NODE_MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/node_modules");

/// Nothing may be loaded from elsewhere. `unsafe-inline` is for styles only, since the web component has inline ones.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The host names by which a browser on this machine reaches it.
const NAMES_OF_THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The partners and the tenant of the demo page.
#[derive(Clone)]
pub struct Demo {
    /// The partners to choose from.
    pub partners: Vec<PartnerId>,
    /// The partner for which 360dialog takes links without a signature.
    pub unsigned_partner: Option<PartnerId>,
    /// The address of an onboarding, with `{partner_id}` in it.
    pub onboarding_url: String,
    /// The tenant that is signed in.
    pub tenant: String,
    /// The address to open the page at. Its origin is the one that the functions allow.
    pub public_url: Option<Url>,
    /// Makes a fresh token of that tenant.
    pub token: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The answer to a page's first request.
#[derive(Serialize)]
struct Session {
    token: String,
    tenant: String,
    partners: Vec<PartnerId>,
    signed_partner: Option<PartnerId>,
    unsigned_partner: Option<PartnerId>,
    unsigned_onboarding_url: Option<String>,
}

impl Session {
    fn new(demo: &Demo) -> Self {
        let unsigned = demo.unsigned_partner.as_ref();
        let url = |partner: &PartnerId| {
            demo.onboarding_url
                .replace("{partner_id}", partner.as_str())
        };
        let mut signed = demo
            .partners
            .iter()
            .filter(|&partner| Some(partner) != unsigned);
        Self {
            token: (demo.token)(),
            tenant: demo.tenant.clone(),
            partners: demo.partners.clone(),
            signed_partner: signed.next().or(unsigned).cloned(),
            unsigned_partner: unsigned.cloned(),
            unsigned_onboarding_url: unsigned.map(url),
        }
    }
}

/// The routes of the pages and their files.
pub fn routes(demo: Demo) -> Router {
    let mut routes = Router::new().route("/_demo/session", get(session));
    for file @ (path, ..) in PAGES {
        routes = routes.route(
            path,
            get(move |demo, headers, uri| page(file, demo, headers, uri)),
        );
    }
    for (path, content_type, text) in FILES {
        routes = routes.route(
            path,
            get(move || async move { ([(CONTENT_TYPE, content_type)], text) }),
        );
    }
    for (path, file) in PACKAGES {
        routes = routes.route(path, get(move || package(file)));
    }
    routes
        .route_layer(map_response(with_headers))
        .with_state(Arc::new(demo))
}

/// Answers with a page. If it was opened by another name of this machine, redirects to the allowed origin.
async fn page(
    (path, content_type, text): File,
    State(demo): State<Arc<Demo>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| is_this_machine(host));
    let opened_at = host.and_then(|host| Url::parse(&format!("http://{host}/")).ok());
    if let (Some(opened_at), Some(public_url)) = (opened_at, &demo.public_url) {
        let is_same_server = public_url.scheme() == "http" && opened_at.port() == public_url.port();
        let is_here = is_same_server && is_this_machine(public_url.authority());
        if is_here && opened_at.origin() != public_url.origin() {
            let mut url = public_url.clone();
            url.set_path(path);
            url.set_query(uri.query());
            return Redirect::temporary(url.as_str()).into_response();
        }
    }
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

/// Reads the file at each request, so that the packages can be installed while the bundle runs.
async fn package(file: &str) -> Response {
    match std::fs::read(format!("{NODE_MODULES}/{file}")) {
        Ok(script) => ([(CONTENT_TYPE, JAVASCRIPT)], script).into_response(),
        Err(_) => (
            StatusCode::NOT_FOUND,
            "Not installed: `make run` installs the demo's npm packages.\n",
        )
            .into_response(),
    }
}

async fn session(State(demo): State<Arc<Demo>>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_this_machine) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "Open the demo as localhost or 127.0.0.1.\n",
        )
            .into_response();
    }
    Json(Session::new(&demo)).into_response()
}

/// Whether `host` is a name of this machine. A foreign page that points its own name here (DNS rebinding) gets no
/// token.
fn is_this_machine(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else {
        return false;
    };
    let is_only_a_host = url.path() == "/" && url.username().is_empty() && url.password().is_none();
    is_only_a_host
        && url
            .host_str()
            .is_some_and(|name| NAMES_OF_THIS_MACHINE.contains(&name))
}

/// Adds the `Origin` header to GET requests of the page itself. For the page's own origin a browser sends none, only
/// `Sec-Fetch-Site`, which no script can set. Here page and functions share one server that has two names, so `sign`
/// needs the header to know which of them its popup must answer to.
pub async fn name_origin(mut request: Request, next: Next) -> Response {
    if let Some(origin) = own_origin(request.headers()) {
        request.headers_mut().insert(ORIGIN, origin);
    }
    next.run(request).await
}

fn own_origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_own = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "same-origin");
    if !is_own || headers.contains_key(ORIGIN) {
        return None;
    }
    let host = headers
        .get(HOST)?
        .to_str()
        .ok()
        .filter(|host| is_this_machine(host))?;
    HeaderValue::try_from(format!("http://{host}")).ok()
}

async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::header::HeaderName;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str, host: Option<&str>) -> Response {
        let demo = Demo {
            partners: ["aAbBcCPA", "openPA"].map(|id| id.parse().unwrap()).into(),
            unsigned_partner: Some("openPA".parse().unwrap()),
            onboarding_url: "http://127.0.0.1:8082/{partner_id}/permissions".to_owned(),
            tenant: "acme".to_owned(),
            public_url: Some("http://127.0.0.1:8360".parse().unwrap()),
            token: Arc::new(|| "a.b.c".to_owned()),
        };
        let request = host.into_iter().fold(Request::get(path), |request, host| {
            request.header(HOST, host)
        });
        routes(demo)
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn every_answer_has_a_content_type_and_is_not_cached() {
        let files = PAGES.iter().chain(&FILES);
        let files = files.map(|&(path, content_type, _)| (path, content_type));
        for (path, content_type) in files.chain([("/_demo/session", "application/json")]) {
            let response = get(path, Some("127.0.0.1:8360")).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], content_type, "{path}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store", "{path}");
            assert_eq!(
                response.headers()[CONTENT_SECURITY_POLICY],
                POLICY,
                "{path}"
            );
            assert_eq!(
                response.headers()[X_CONTENT_TYPE_OPTIONS],
                "nosniff",
                "{path}"
            );
            assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer", "{path}");
        }
    }

    #[tokio::test]
    async fn the_page_redirects_to_the_origin_that_is_allowed() {
        let response = get("/?client=aCL", Some("localhost:8360")).await;
        assert_eq!(response.status(), 307);
        assert_eq!(
            response.headers()["location"],
            "http://127.0.0.1:8360/?client=aCL"
        );
        let response = get("/_demo/landing?client=aCL", Some("localhost:8360")).await;
        assert_eq!(
            response.headers()["location"],
            "http://127.0.0.1:8360/_demo/landing?client=aCL"
        );
        for host in ["127.0.0.1:8360", "localhost:9999", "a.example"] {
            assert_eq!(get("/", Some(host)).await.status(), 200, "{host}");
        }
    }

    #[tokio::test]
    async fn the_session_names_token_tenant_and_partners() {
        let response = get("/_demo/session", Some("127.0.0.1:8360")).await;
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let session: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            session,
            json!({
                "token": "a.b.c", "tenant": "acme", "partners": ["aAbBcCPA", "openPA"],
                "signed_partner": "aAbBcCPA", "unsigned_partner": "openPA",
                "unsigned_onboarding_url": "http://127.0.0.1:8082/openPA/permissions",
            })
        );
    }

    #[tokio::test]
    async fn only_the_names_of_this_machine_get_a_token() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8360", "[::1]:8360"] {
            assert_eq!(
                get("/_demo/session", Some(host)).await.status(),
                200,
                "{host}"
            );
        }
        let foreign = [
            "evil.example",
            "localhost.evil.example:8360",
            "evil.example/localhost",
            "a@localhost",
            "",
        ];
        for host in foreign.map(Some).into_iter().chain([None]) {
            let response = get("/_demo/session", host).await;
            assert_eq!(response.status(), 421, "{host:?}");
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert!(!body.windows(5).any(|part| part == b"a.b.c"), "{host:?}");
        }
    }

    #[tokio::test]
    async fn the_packages_are_the_installed_ones() {
        for (path, file) in PACKAGES {
            let response = get(path, Some("localhost:8360")).await;
            let Ok(installed) = std::fs::read(format!("{NODE_MODULES}/{file}")) else {
                assert_eq!(response.status(), 404);
                continue;
            };
            assert_eq!(response.headers()[CONTENT_TYPE], JAVASCRIPT);
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body, installed);
        }
    }

    #[test]
    fn a_request_of_the_same_origin_gets_the_origin_it_was_opened_at() {
        let origin = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|&(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            own_origin(&pairs.collect())
        };
        let same = ("sec-fetch-site", "same-origin");
        assert_eq!(
            origin(&[("host", "localhost:8360"), same]).unwrap(),
            "http://localhost:8360"
        );
        assert_eq!(
            origin(&[("host", "127.0.0.1:8360"), same]).unwrap(),
            "http://127.0.0.1:8360"
        );
        assert_eq!(origin(&[("host", "localhost:8360")]), None);
        assert_eq!(
            origin(&[("host", "localhost:8360"), ("sec-fetch-site", "cross-site")]),
            None
        );
        assert_eq!(origin(&[("host", "evil.example"), same]), None);
        assert_eq!(
            origin(&[
                ("host", "localhost:8360"),
                same,
                ("origin", "http://localhost:1")
            ]),
            None
        );
    }
}
