//! The demo page: a front end that connects numbers in two ways and shows their state.
//!
//! For one machine only: anybody who can reach `/_demo/session` gets a token. The page calls the functions like any
//! other front end.

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

const PAGE: &str = include_str!("../demo/index.html");
const SCRIPT: &str = include_str!("../demo/app.js");
const STYLE: &str = include_str!("../demo/style.css");

/// 360dialog's own web component, served from its npm package: this repository holds no copy of it.
const CONNECT_BUTTON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/demo/node_modules/360dialog-connect-button/dist/dialog-connect-button.umd.js"
);

/// Nothing may be loaded from elsewhere. `unsafe-inline` is for styles only, since the web component has inline ones.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// The host names by which a browser on this machine reaches it.
const NAMES_OF_THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The partners and the tenant of the demo page.
#[derive(Clone)]
pub struct Demo {
    /// The partners to choose from.
    pub partners: Vec<PartnerId>,
    /// The tenant that is signed in.
    pub tenant: String,
    /// The address to open the page at. Its origin is the one that the functions allow.
    pub public_url: Option<Url>,
    /// Makes a fresh token of that tenant.
    pub token: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The answer to the page's first request.
#[derive(Serialize)]
struct Session {
    token: String,
    tenant: String,
    partners: Vec<PartnerId>,
}

/// The routes of the page and its files.
pub fn routes(demo: Demo) -> Router {
    Router::new()
        .route("/", get(page))
        .route(
            "/_demo/app.js",
            get(|| async { ([(CONTENT_TYPE, JAVASCRIPT)], SCRIPT) }),
        )
        .route(
            "/_demo/style.css",
            get(|| async { ([(CONTENT_TYPE, CSS)], STYLE) }),
        )
        .route("/_demo/connect-button.js", get(connect_button))
        .route("/_demo/session", get(session))
        .route_layer(map_response(with_headers))
        .with_state(Arc::new(demo))
}

/// Answers with the page. If it was opened by another name of this machine, redirects to the allowed origin.
async fn page(State(demo): State<Arc<Demo>>, headers: HeaderMap, uri: Uri) -> Response {
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
            url.set_query(uri.query());
            return Redirect::temporary(url.as_str()).into_response();
        }
    }
    ([(CONTENT_TYPE, HTML)], PAGE).into_response()
}

/// Reads the file at each request, so that the package can be installed while the bundle runs.
async fn connect_button() -> Response {
    match std::fs::read(CONNECT_BUTTON) {
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
    let Demo {
        partners,
        tenant,
        token,
        ..
    } = &*demo;
    Json(Session {
        token: token(),
        tenant: tenant.clone(),
        partners: partners.clone(),
    })
    .into_response()
}

/// Whether `host` is a name of this machine. A foreign page that points its own name here (DNS rebinding) gets no token.
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
            partners: vec!["aAbBcCPA".parse().unwrap()],
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
        let files = [
            ("/", HTML),
            ("/_demo/app.js", JAVASCRIPT),
            ("/_demo/style.css", CSS),
        ];
        for (path, content_type) in files
            .into_iter()
            .chain([("/_demo/session", "application/json")])
        {
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
            json!({"token": "a.b.c", "tenant": "acme", "partners": ["aAbBcCPA"]})
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
    async fn the_connect_button_is_the_installed_one() {
        let response = get("/_demo/connect-button.js", Some("localhost:8360")).await;
        let Ok(installed) = std::fs::read(CONNECT_BUTTON) else {
            assert_eq!(response.status(), 404);
            return;
        };
        assert_eq!(response.headers()[CONTENT_TYPE], JAVASCRIPT);
        assert_eq!(
            to_bytes(response.into_body(), usize::MAX).await.unwrap(),
            installed
        );
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

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_writes_no_html() {
        for (name, text) in [
            ("index.html", PAGE),
            ("app.js", SCRIPT),
            ("style.css", STYLE),
        ] {
            for foreign in [
                "https://",
                "@import",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
            ] {
                assert!(!text.contains(foreign), "{name} holds {foreign}");
            }
        }
        // The policy forbids inline scripts and handlers, so every script has an address.
        assert!(PAGE.matches("<script").count() == PAGE.matches(r#"src="/_demo/"#).count());
        assert!(!PAGE.contains(" onclick="));
    }
}
