//! The onboarding itself: checks the link, has the client's choice applied, and builds the return URL.
//!
//! Pages and controls share this, so a test that follows a link passes the same checks as a person.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{
    channel::Coexistence, completion::Completion, settings::Partner, signature,
    simulator::Simulator, store::SaveError,
};

/// How long a completed onboarding waits until its first webhooks have been tried. They then usually
/// arrive before the browser does, and a slow receiver does not hold up the browser.
const HEAD_START: Duration = Duration::from_secs(1);

/// Why an onboarding is refused; the client reads the message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("There is no such partner.")]
    UnknownPartner,
    #[error("{0}")]
    Signature(#[from] signature::Refusal),
    #[error(
        "Neither the link nor the partner says where to go afterwards: redirect_url is missing."
    )]
    NoRedirectUrl,
    #[error("redirect_url is not an absolute http or https address.")]
    MalformedRedirectUrl,
    #[error("An id is not 1 to 64 of A-Z a-z 0-9 _ -.")]
    MalformedId,
    #[error("A phone number has 7 to 15 digits.")]
    MalformedPhoneNumber,
    #[error("A number cannot be granted and revoked at once.")]
    GrantedAndRevoked,
    #[error("The channel belongs to another client.")]
    ForeignChannel,
    #[error("The simulator could not save the change.")]
    NotSaved(#[from] SaveError),
}

/// The query of an onboarding link. Of several parameters with one name the first counts.
pub(crate) struct Link(Vec<(String, String)>);

impl Link {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query without the parameter `name`.
    pub(crate) fn query_without(&self, name: &str) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.0.iter().filter(|(key, _)| key != name))
            .finish()
    }
}

/// A client's onboarding session: its link has passed every check.
pub(crate) struct Session<'a> {
    pub(crate) partner: &'a Partner,
    redirect_url: Url,
    state: Option<&'a str>,
    /// The second of the signature that completing uses up; `None` if no signature is required.
    second: Option<i64>,
    /// The parameters of the link that the client's record keeps.
    contact: Contact,
}

/// The data of a new client that its link carries.
#[derive(Clone, Default)]
pub(crate) struct Contact {
    pub(crate) email: Option<String>,
    pub(crate) payload: Option<String>,
}

impl Contact {
    fn from_link(link: &Link) -> Self {
        let text = |name: &str| {
            let value = link.value(name).filter(|text| !text.is_empty());
            value.map(str::to_owned)
        };
        Self {
            email: text("email"),
            payload: text("partner"),
        }
    }
}

/// The client's choice in this session. Clients and channels that do not exist are created.
#[derive(Default)]
pub(crate) struct Choice {
    /// `None` creates a new client.
    pub(crate) client: Option<String>,
    /// The name of a new client.
    pub(crate) client_name: Option<String>,
    pub(crate) grant: Vec<String>,
    pub(crate) new_number: Option<NewNumber>,
    pub(crate) revoke: Vec<String>,
    /// Set if channels that are created stay in the WhatsApp Business app.
    pub(crate) coexistence: Option<Coexistence>,
}

/// A number to add and grant. Values that are missing are made up.
#[derive(Default)]
pub(crate) struct NewNumber {
    pub(crate) phone: Option<String>,
    pub(crate) name: Option<String>,
    /// Set if the number stays in the WhatsApp Business app.
    pub(crate) coexistence: Option<Coexistence>,
}

impl<'a> Session<'a> {
    pub(crate) fn begin(
        simulator: &'a Simulator,
        partner: &str,
        link: &'a Link,
    ) -> Result<Self, Refusal> {
        let partner = simulator
            .partners
            .get(partner)
            .ok_or(Refusal::UnknownPartner)?;
        let second = if partner.check_signature {
            Some(check_signature(simulator, partner, link)?)
        } else {
            None
        };
        let configured = || {
            simulator
                .store
                .read(|records| records.redirect_url(partner).map(str::to_owned))
        };
        let named = link
            .value("redirect_url")
            .filter(|text| !text.is_empty())
            .map(str::to_owned);
        let redirect_url = named.or_else(configured).ok_or(Refusal::NoRedirectUrl)?;
        let redirect_url = Url::parse(&redirect_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or(Refusal::MalformedRedirectUrl)?;
        Ok(Self {
            partner,
            redirect_url,
            state: link.value("state"),
            second,
            contact: Contact::from_link(link),
        })
    }

    /// The return URL after the client cancelled. Whether 360dialog redirects at all then is unknown.
    pub(crate) fn cancel(self) -> String {
        self.return_url(String::new())
    }

    /// Applies the choice, all or nothing, and returns the return URL.
    pub(crate) async fn complete(
        self,
        simulator: &Arc<Simulator>,
        choice: Choice,
    ) -> Result<String, Refusal> {
        let completed = simulator.store.change(|records| {
            let now = Timestamp::now();
            if let Some(second) = self.second
                && !records.account_mut(&self.partner.id).spend(second, now)
            {
                return Err(Refusal::Signature(signature::Refusal::Used));
            }
            Completion::new(self.partner, &self.contact, records, now).apply(choice)
        });
        let completed = completed.inspect_err(|refusal| {
            if let Refusal::NotSaved(error) = refusal {
                tracing::error!(partner = %self.partner.id, %error, "onboarding not saved");
            }
        })?;
        tracing::info!(
            partner = %self.partner.id, client = %completed.client, granted = ?completed.granted, revoked = ?completed.revoked,
            "onboarding completed"
        );
        let tried = simulator.dispatch(completed.deliveries);
        for channel in &completed.started {
            simulator.advance_through_stages(&self.partner.id, channel);
        }
        // A webhook that is too slow, or cut off by a stop, is tried again later.
        let _ = timeout(HEAD_START, async {
            for first_try in tried {
                let _ = first_try.await;
            }
        })
        .await;
        Ok(self.return_url(result_query(
            &completed.client,
            &completed.granted,
            &completed.revoked,
        )))
    }

    /// The redirect URL with the result, in 360dialog's form: brackets are not encoded, empty lists are left out.
    fn return_url(&self, mut answer: String) -> String {
        if let Some(state) = self.state {
            let state: String = form_urlencoded::byte_serialize(state.as_bytes()).collect();
            let separator = if answer.is_empty() { "" } else { "&" };
            answer = format!("{answer}{separator}state={}", state.replace('+', "%20"));
        }
        let mut url = self.redirect_url.clone();
        let query = [url.query().unwrap_or_default(), &answer]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("&");
        url.set_query((!query.is_empty()).then_some(&query));
        url.into()
    }
}

fn result_query(client: &str, granted: &[String], revoked: &[String]) -> String {
    let mut answer = format!("client={client}");
    for (name, ids) in [("channels", granted), ("revoked", revoked)] {
        if !ids.is_empty() {
            answer.push_str(&format!("&{name}=[{}]", ids.join(",")));
        }
    }
    answer
}

fn check_signature(
    simulator: &Simulator,
    partner: &Partner,
    link: &Link,
) -> Result<i64, signature::Refusal> {
    let second = signature::check_link(
        &partner.platform_secret,
        &partner.id,
        link.value("io_signature"),
        link.value("io_timestamp"),
        Timestamp::now(),
    )?;
    let is_used = simulator.store.read(|records| {
        records
            .account(&partner.id)
            .is_some_and(|account| account.used_seconds.contains(&second))
    });
    if is_used {
        Err(signature::Refusal::Used)
    } else {
        Ok(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Access, Billing};

    fn return_url(redirect_url: &str, state: Option<&str>, answer: String) -> String {
        let partner = Partner {
            id: "aAbBcCPA".into(),
            platform_secret: "test_platform_secret".into(),
            access: vec![Access::Token("test_token".into())],
            billing: Billing::DirectPaid,
            webhook_url: None,
            redirect_url: None,
            check_signature: false,
        };
        let redirect_url = Url::parse(redirect_url).unwrap();
        Session {
            partner: &partner,
            redirect_url,
            state,
            second: None,
            contact: Contact::default(),
        }
        .return_url(answer)
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_return_url_has_360dialogs_form() {
        let both = result_query("oCL", &ids(&["aCH", "bCH"]), &ids(&["cCH"]));
        assert_eq!(
            return_url("https://app.example/back", Some("a.b c+d&e"), both),
            "https://app.example/back?client=oCL&channels=[aCH,bCH]&revoked=[cCH]&state=a.b%20c%2Bd%26e"
        );
        assert_eq!(
            return_url(
                "https://app.example/back?x=1#top",
                None,
                result_query("oCL", &[], &ids(&["cCH"]))
            ),
            "https://app.example/back?x=1&client=oCL&revoked=[cCH]#top"
        );
        assert_eq!(
            return_url("https://app.example/?", None, result_query("oCL", &[], &[])),
            "https://app.example/?client=oCL"
        );
    }

    #[test]
    fn a_cancelled_session_carries_only_the_state() {
        assert_eq!(
            return_url("https://app.example/b", Some("s"), String::new()),
            "https://app.example/b?state=s"
        );
        assert_eq!(
            return_url("https://app.example/b", None, String::new()),
            "https://app.example/b"
        );
    }
}
