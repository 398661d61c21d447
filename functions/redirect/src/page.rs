//! The pages that a person sees in the popup. The script is static; the values are in escaped attributes.

use std::sync::LazyLock;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use dialog360::redirect::RedirectQuery;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use onboarding::origin::Origin;
use runtime::http::Problem;
use sha2::{Digest, Sha256};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;\
place-items:center;background:#f4f6f8;color:#1d2733}main{max-width:26rem;margin:1rem;padding:2rem;background:#fff;\
border-radius:12px;box-shadow:0 1px 4px #0002}h1{font-size:1.25rem;margin:0 0 .5rem}p{margin:0}\
@media(prefers-color-scheme:dark){body{background:#12181f;color:#e6ebf0}main{background:#1c252f}}";

/// Posts the result to the page that opened the popup, if it is of exactly that origin; then closes the popup.
const SCRIPT: &str = "\
const {message, origin} = document.body.dataset;\
const isPosted = Boolean(origin && window.opener);\
if (isPosted) { window.opener.postMessage(message, origin); window.close(); }\
document.getElementById(isPosted ? 'posted' : 'not-posted').hidden = false;";

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Whether the result was recorded before the page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is recorded.
    Recorded,
    /// `sign` did not make the link, so nothing was recorded: only the application can hand the result in.
    Nothing,
}

/// A page that posts the result to its opener if that is of `origin`; else it says what to do.
pub(crate) fn hand_over(query: &RedirectQuery, origin: Option<&Origin>, done: Done) -> Response {
    let title = if query.is_cancelled() {
        "Nothing was changed"
    } else {
        "Thank you"
    };
    let (with_opener, without_opener) = match (done, query.is_cancelled()) {
        (_, true) => (
            "You did not connect a number.",
            "You did not connect a number.",
        ),
        (Done::Recorded, false) => (
            "Your choice was handed on.",
            "Your choice is recorded. This window could not pass it on to the application: go back to it and reload it.",
        ),
        (Done::Nothing, false) => (
            "Your choice was handed to the application.",
            "This link was not made by the application, so nothing was recorded: go back to it and start there.",
        ),
    };
    let message = query.to_query();
    let message = if message.is_empty() {
        message
    } else {
        format!("?{message}")
    };
    let body = html! {
        body data-message=(message) data-origin=[origin.map(Origin::as_str)] {
            main {
                h1 { (title) }
                p id="posted" hidden { (with_opener) " You can close this window." }
                p id="not-posted" hidden { (without_opener) " You can close this window." }
                noscript { p { (without_opener) " You can close this window." } }
            }
            script { (PreEscaped(SCRIPT)) }
        }
    };
    page(StatusCode::OK, title, body)
}

/// A page that shows a problem, and what to do.
pub(crate) fn refused(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = if status.is_server_error() {
        "Please try again"
    } else {
        "This did not work"
    };
    page(
        status,
        title,
        html! { body { main { h1 { (title) } p { (problem.detail) } } } },
    )
}

fn page(status: StatusCode, title: &str, body: Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            (body)
        }
    };
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, page.into_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn text(response: Response) -> String {
        String::from_utf8(
            to_bytes(response.into_body(), usize::MAX)
                .await
                .unwrap()
                .to_vec(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn the_page_posts_the_result_to_one_origin_and_nothing_else_runs() {
        let query = RedirectQuery::parse("client=aCL&channels=[bCH]").unwrap();
        let response = hand_over(
            &query,
            Some(&"https://app.example".parse().unwrap()),
            Done::Recorded,
        );
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer");
        let page = text(response).await;
        assert!(
            page.contains(r#"data-message="?client=aCL&amp;channels=[bCH]""#),
            "{page}"
        );
        assert!(
            page.contains(r#"data-origin="https://app.example""#),
            "{page}"
        );
        assert!(!page.contains("'*'"));
    }

    #[tokio::test]
    async fn a_cancelled_session_posts_an_empty_text() {
        let page = text(hand_over(
            &RedirectQuery::parse("").unwrap(),
            None,
            Done::Nothing,
        ))
        .await;
        assert!(page.contains(r#"data-message="""#), "{page}");
        assert!(!page.contains("data-origin"), "{page}");
    }

    #[tokio::test]
    async fn a_refusal_is_escaped() {
        let response = refused(&Problem::bad_request("<script>"));
        assert_eq!(response.status(), 400);
        assert!(text(response).await.contains("&lt;script&gt;"));
    }
}
