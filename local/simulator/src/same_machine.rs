//! Pages and controls answer only if the `Host` header names this machine or the public URL's host.
//! A foreign page that points its own name at this address (DNS rebinding) is refused.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use url::Url;

use crate::simulator::Simulator;

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

pub(crate) async fn only(
    State(simulator): State<Arc<Simulator>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if host.is_some_and(|host| is_allowed(host, simulator.public_host.as_deref())) {
        return next.run(request).await;
    }
    (
        StatusCode::MISDIRECTED_REQUEST,
        "The simulator answers to localhost and to its public URL only.\n",
    )
        .into_response()
}

fn is_allowed(host: &str, public_host: Option<&str>) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else {
        return false;
    };
    let has_only_a_host =
        url.path() == "/" && url.username().is_empty() && url.password().is_none();
    has_only_a_host
        && url
            .host_str()
            .is_some_and(|name| NAMES.contains(&name) || public_host == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_this_machine_are_allowed_on_any_port() {
        for host in [
            "localhost",
            "LOCALHOST:8082",
            "127.0.0.1:8082",
            "[::1]:80",
            "hub.example:8082",
        ] {
            assert!(is_allowed(host, Some("hub.example")), "{host}");
        }
    }

    #[test]
    fn any_other_name_is_refused() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example/localhost",
            "a@localhost",
            "127.0.0.2",
        ] {
            assert!(!is_allowed(host, Some("hub.example")), "{host}");
        }
        assert!(!is_allowed("hub.example", None));
    }
}
