//! The pages that a client clicks through: rendered on the server, without scripts or external files.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::form_urlencoded;

use crate::{
    channel::{Channel, Coexistence, Permission, Stage},
    onboarding::{Choice, Link, NewNumber, Refusal, Session},
    simulator::Simulator,
    state::{Account, Client},
};

/// A query parameter of the pages themselves: the client who is signed in.
const CLIENT: &str = "client";
/// The prefilled name if neither the link nor the records have one.
const EXAMPLE_NAME: &str = "Example Ltd";
/// The addresses of 360dialog's two front ends.
const PATHS: [&str; 3] = [
    "/dashboard/app/{partner}/permissions",
    "/dashboard/app/{partner}",
    "/onboarding/{partner}",
];
const STYLE: &str = include_str!("pages.css");

pub(crate) fn routes() -> Router<Arc<Simulator>> {
    PATHS.iter().fold(Router::new(), |router, path| {
        router
            .route(path, get(show))
            .route(&format!("{path}/complete"), post(submit))
    })
}

/// The partner id in the path of an onboarding address.
pub(crate) fn partner_in_path(path: &str) -> Option<&str> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments[..] {
        ["dashboard", "app", partner]
        | ["dashboard", "app", partner, "permissions"]
        | ["onboarding", partner] => Some(partner),
        _ => None,
    }
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPartner => StatusCode::NOT_FOUND,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::ForeignChannel => StatusCode::CONFLICT,
            Self::NotSaved(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

async fn show(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    uri: Uri,
    RawQuery(query): RawQuery,
) -> Response {
    let link = Link::parse(&query.unwrap_or_default());
    if let Err(refusal) = Session::begin(&simulator, &partner, &link) {
        return refused(&partner, &refusal);
    }
    let page = simulator.store.read(|records| {
        let nothing_yet = Account::default();
        let account = records.account(&partner).unwrap_or(&nothing_yet);
        let page = PermissionsPage {
            partner: &partner,
            path: uri.path().trim_end_matches('/'),
            link: &link,
            account,
            client: link.value(CLIENT).and_then(|id| account.clients.get(id)),
            phone: link
                .value("number")
                .map_or_else(|| records.unused_phone_number(), str::to_owned),
        };
        page.render()
    });
    respond(StatusCode::OK, page)
}

async fn submit(
    State(simulator): State<Arc<Simulator>>,
    Path(partner): Path<String>,
    RawQuery(query): RawQuery,
    body: String,
) -> Response {
    let link = Link::parse(&query.unwrap_or_default());
    let session = match Session::begin(&simulator, &partner, &link) {
        Ok(session) => session,
        Err(refusal) => return refused(&partner, &refusal),
    };
    let form = Form::parse(&body);
    if form.text("action") == Some("cancel") {
        return see_other(&session.cancel());
    }
    match session.complete(&simulator, form.choice()).await {
        Ok(address) => see_other(&address),
        Err(refusal) => refused(&partner, &refusal),
    }
}

/// A submitted form.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &str) -> Self {
        Self(
            form_urlencoded::parse(body.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// The value of a field, unless it was left empty.
    fn text(&self, name: &str) -> Option<&str> {
        let value = self
            .0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim());
        value.filter(|text| !text.is_empty())
    }

    fn choice(&self) -> Choice {
        let owned = |name| self.text(name).map(str::to_owned);
        Choice {
            client: owned(CLIENT),
            client_name: owned("client_name"),
            grant: self.all("channels"),
            new_number: self.text("add").map(|_| NewNumber {
                phone: owned("phone"),
                name: owned("name"),
                coexistence: self.text("coexistence").map(|_| Coexistence::HistoryDue),
            }),
            revoke: self.all("revoked"),
            coexistence: None,
        }
    }
}

/// The content of the permissions page.
struct PermissionsPage<'a> {
    partner: &'a str,
    path: &'a str,
    link: &'a Link,
    account: &'a Account,
    client: Option<&'a Client>,
    phone: String,
}

impl PermissionsPage<'_> {
    fn render(&self) -> Markup {
        let channels: Vec<&Channel> = self
            .account
            .channels
            .values()
            .filter(|channel| {
                self.client
                    .is_some_and(|client| client.id == channel.client_id)
            })
            .collect();
        let query = self.link.query_without(CLIENT);
        layout(
            "Connect WhatsApp",
            html! {
                h1 { "Connect WhatsApp" }
                p { "Partner " code { (self.partner) } " asks for permission to use WhatsApp numbers of yours." }
                (self.clients(&query))
                form method="post" action={ (self.path) "/complete?" (query) } {
                    (self.client_fields())
                    @if !channels.is_empty() {
                        fieldset {
                            legend { "Your numbers" }
                            @for channel in &channels { (number(channel)) }
                        }
                    }
                    (self.new_number(channels.is_empty()))
                    div.actions {
                        button #grant type="submit" name="action" value="grant" { "Continue" }
                        button #cancel.quiet type="submit" name="action" value="cancel" formnovalidate { "Cancel" }
                    }
                }
            },
        )
    }

    /// The choice of the client, as links, so that it needs no script.
    fn clients(&self, query: &str) -> Markup {
        let current = self.client.map(|client| client.id.as_str());
        html! {
            @if !self.account.clients.is_empty() {
                nav #clients aria-label="Client" {
                    a href={ (self.path) "?" (query) } aria-current=[current.is_none().then_some("true")] { "New client" }
                    @for client in self.account.clients.values() {
                        a href={ (self.path) "?" (query) "&" (CLIENT) "=" (client.id) }
                            aria-current=[(current == Some(&client.id)).then_some("true")] { (client.name) " " code { (client.id) } }
                    }
                }
            }
        }
    }

    fn client_fields(&self) -> Markup {
        html! {
            @match self.client {
                Some(client) => {
                    input type="hidden" name=(CLIENT) value=(client.id);
                    p { "Signed in as " strong { (client.name) } " " code { (client.id) } }
                }
                None => {
                    label for="client_name" { "Your company" }
                    input #client_name name="client_name" value=(self.link.value("name").unwrap_or(EXAMPLE_NAME));
                }
            }
        }
    }

    fn new_number(&self, is_first: bool) -> Markup {
        let name = self
            .client
            .map(|client| client.name.as_str())
            .or(self.link.value("name"));
        html! {
            fieldset {
                legend { "New number" }
                label.check { input #add type="checkbox" name="add" value="on" checked[is_first]; "Add a new number" }
                label for="phone" { "Phone number" }
                input #phone name="phone" inputmode="tel" value={ "+" (self.phone.trim_start_matches('+')) };
                label for="name" { "Display name" }
                input #name name="name" value=(name.unwrap_or(EXAMPLE_NAME));
                label.check { input #coexistence type="checkbox" name="coexistence" value="on"; "It stays in the WhatsApp Business app" }
            }
        }
    }
}

fn number(channel: &Channel) -> Markup {
    let stage = match channel.stage {
        Stage::Created => "created",
        Stage::Ready => "ready",
        Stage::Running => "running",
        Stage::Live => "live",
    };
    let (field, verb) = match channel.permission {
        Permission::Granted => ("revoked", "Revoke permission for"),
        Permission::Unasked | Permission::Revoked => ("channels", "Permit"),
    };
    html! {
        label.check {
            input type="checkbox" name=(field) value=(channel.id);
            span { (verb) " +" (channel.phone_number) ", " (channel.phone_name) " " code { (channel.id) } " " small { (stage) } }
        }
    }
}

fn refused(partner: &str, refusal: &Refusal) -> Response {
    tracing::warn!(?partner, reason = %refusal, "onboarding refused");
    let page = layout(
        "This link cannot be used",
        html! {
            h1 { "This link cannot be used" }
            p #reason { (refusal) }
            p { "Go back to where you found it and start again: every link works once." }
        },
    );
    respond(refusal.status(), page)
}

fn layout(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · 360dialog, simulated" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { strong { "360dialog hub" } span.badge { "simulated" } }
                main { (body) }
                footer { "Nothing here reaches 360dialog, Meta or a phone. Every number is fictitious." }
            }
        }
    }
}

fn respond(status: StatusCode, page: Markup) -> Response {
    (status, private(), Html(page.into_string())).into_response()
}

fn see_other(address: &str) -> Response {
    // Cannot fail: a parsed URL is ASCII.
    let Ok(location) = HeaderValue::from_str(address) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    (
        StatusCode::SEE_OTHER,
        private(),
        [(header::LOCATION, location)],
    )
        .into_response()
}

/// A link holds a signature and a state, so the pages are not cached and send no referrer. There is no
/// `form-action`, since it would also stop the redirect that follows the form.
fn private() -> [(HeaderName, &'static str); 4] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_onboarding_path_names_its_partner() {
        for path in [
            "/dashboard/app/aPA",
            "/dashboard/app/aPA/permissions",
            "/onboarding/aPA",
            "/onboarding/aPA/",
        ] {
            assert_eq!(partner_in_path(path), Some("aPA"), "{path}");
        }
        for path in [
            "/",
            "/onboarding",
            "/dashboard/app/aPA/other",
            "/x/onboarding/aPA",
        ] {
            assert_eq!(partner_in_path(path), None, "{path}");
        }
    }
}
