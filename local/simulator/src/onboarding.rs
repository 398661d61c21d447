//! An onboarding link and what a client does with it: the checks, the grants, the way back.
//!
//! Pages and controls share this, so that a test which follows a link meets every check a person does.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{
    id,
    settings::Partner,
    signature,
    simulator::Simulator,
    state::{Channel, Client, Delivery, Permission, Records, Stage},
    store::SaveError,
};

/// How long the way back waits for the first webhooks to be tried: they usually come before the
/// browser does, but must not hold it up.
const HEAD_START: Duration = Duration::from_secs(1);

/// Why an onboarding cannot go on.
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
    #[error("The simulated hub could not save it.")]
    NotSaved(#[from] SaveError),
}

/// The query of an onboarding link, the first of each name.
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

    /// The same link without one parameter, as a query.
    pub(crate) fn query_without(&self, name: &str) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.0.iter().filter(|(key, _)| key != name))
            .finish()
    }
}

/// A link that has passed every check.
pub(crate) struct Visit<'a> {
    pub(crate) partner: &'a Partner,
    redirect_url: Url,
    state: Option<&'a str>,
    /// Names the signature to spend; `None` where none is asked for.
    second: Option<i64>,
}

/// What the client does in this visit. Whatever it names and does not exist is made.
#[derive(Default)]
pub(crate) struct Choice {
    /// `None` for a new one.
    pub(crate) client: Option<String>,
    /// The name of a new client.
    pub(crate) client_name: Option<String>,
    pub(crate) grant: Vec<String>,
    pub(crate) new_number: Option<NewNumber>,
    pub(crate) revoke: Vec<String>,
}

/// A number to add and grant; what is left open is made up.
#[derive(Default)]
pub(crate) struct NewNumber {
    pub(crate) phone: Option<String>,
    pub(crate) name: Option<String>,
}

impl<'a> Visit<'a> {
    pub(crate) fn begin(
        hub: &'a Simulator,
        partner: &str,
        link: &'a Link,
    ) -> Result<Self, Refusal> {
        let partner = hub.partners.get(partner).ok_or(Refusal::UnknownPartner)?;
        let second = if partner.check_signature {
            Some(check_signature(hub, partner, link)?)
        } else {
            None
        };
        let configured = || {
            hub.store
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
        })
    }

    /// Where the browser goes when the client cancels. Whether the real hub goes back at all is unknown.
    pub(crate) fn cancel(self) -> String {
        self.way_back(String::new())
    }

    /// Does what was chosen, all or nothing, and answers where the browser goes.
    pub(crate) async fn complete(
        self,
        hub: &Arc<Simulator>,
        choice: Choice,
    ) -> Result<String, Refusal> {
        let done = hub.store.change(|records| {
            let now = Timestamp::now();
            if let Some(second) = self.second
                && !records.account_mut(&self.partner.id).spend(second, now)
            {
                return Err(Refusal::Signature(signature::Refusal::Used));
            }
            Desk {
                partner: self.partner,
                records,
                now,
                deliveries: Vec::new(),
                started: Vec::new(),
            }
            .serve(choice)
        });
        let done = done.inspect_err(|refusal| {
            if let Refusal::NotSaved(error) = refusal {
                tracing::error!(partner = %self.partner.id, %error, "onboarding not saved");
            }
        })?;
        tracing::info!(
            partner = %self.partner.id, client = %done.client, granted = ?done.granted, revoked = ?done.revoked,
            "onboarding completed"
        );
        let tried = hub.dispatch(done.deliveries);
        for channel in &done.started {
            hub.take_through_stages(&self.partner.id, channel);
        }
        // Too slow or stopped: they are tried again all the same.
        let _ = timeout(HEAD_START, async {
            for first_try in tried {
                let _ = first_try.await;
            }
        })
        .await;
        Ok(self.way_back(answer(&done.client, &done.granted, &done.revoked)))
    }

    /// 360dialog's form: brackets as they are, lists left out when they are empty.
    fn way_back(&self, mut answer: String) -> String {
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

fn answer(client: &str, granted: &[String], revoked: &[String]) -> String {
    let mut answer = format!("client={client}");
    for (name, ids) in [("channels", granted), ("revoked", revoked)] {
        if !ids.is_empty() {
            answer.push_str(&format!("&{name}=[{}]", ids.join(",")));
        }
    }
    answer
}

fn check_signature(
    hub: &Simulator,
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
    let is_used = hub.store.read(|records| {
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

/// Where one visit's choices become records and webhooks.
struct Desk<'a> {
    partner: &'a Partner,
    records: &'a mut Records,
    now: Timestamp,
    deliveries: Vec<Delivery>,
    started: Vec<String>,
}

struct Done {
    client: String,
    granted: Vec<String>,
    revoked: Vec<String>,
    deliveries: Vec<Delivery>,
    /// New channels, whose stages are to begin.
    started: Vec<String>,
}

impl Desk<'_> {
    fn serve(mut self, choice: Choice) -> Result<Done, Refusal> {
        let client = self.client(choice.client, choice.client_name)?;
        let mut granted = without_duplicates(choice.grant);
        let revoked = without_duplicates(choice.revoke);
        if granted.iter().any(|channel| revoked.contains(channel)) {
            return Err(Refusal::GrantedAndRevoked);
        }
        for channel in granted.iter().chain(&revoked) {
            self.channel(&client, channel, NewNumber::default())?;
        }
        if let Some(number) = choice.new_number {
            let channel = id::channel();
            self.channel(&client, &channel, number)?;
            granted.push(channel);
        }
        for channel in &granted {
            self.permit(channel, Permission::Granted);
        }
        for channel in &revoked {
            self.permit(channel, Permission::Revoked);
        }
        Ok(Done {
            client,
            granted,
            revoked,
            deliveries: self.deliveries,
            started: self.started,
        })
    }

    /// The client, made if need be.
    fn client(&mut self, named: Option<String>, name: Option<String>) -> Result<String, Refusal> {
        let id = named.unwrap_or_else(id::client);
        if !id::is_id(&id) {
            return Err(Refusal::MalformedId);
        }
        let account = self.records.account_mut(&self.partner.id);
        if account.clients.contains_key(&id) {
            return Ok(id);
        }
        let name = name.unwrap_or_else(|| format!("Client {id}"));
        let client = Client {
            id: id.clone(),
            name,
            created_at: self.now,
        };
        let view = client.view();
        account.clients.insert(id.clone(), client);
        self.deliveries
            .extend(self.records.announce(self.partner, "client_created", &view));
        Ok(id)
    }

    /// Sees to it that a channel exists and is this client's.
    fn channel(&mut self, client: &str, id: &str, number: NewNumber) -> Result<(), Refusal> {
        if !id::is_id(id) {
            return Err(Refusal::MalformedId);
        }
        let phone_number = match number.phone {
            Some(text) => digits(&text)?,
            None => self.records.unused_phone_number(),
        };
        let account = self.records.account_mut(&self.partner.id);
        if let Some(channel) = account.channels.get(id) {
            return if channel.client_id == client {
                Ok(())
            } else {
                Err(Refusal::ForeignChannel)
            };
        }
        let channel = Channel {
            id: id.to_owned(),
            client_id: client.to_owned(),
            created_at: self.now,
            phone_number,
            phone_name: number.name.unwrap_or_else(|| format!("Number {id}")),
            waba_id: id::waba_account(),
            waba_external_id: id::number(),
            stage: Stage::Created,
            permission: Permission::Unasked,
            quality: None,
            key: None,
        };
        let view = account.channel_view(&channel);
        account.channels.insert(id.to_owned(), channel);
        self.started.push(id.to_owned());
        self.deliveries.extend(
            self.records
                .announce(self.partner, "channel_created", &view),
        );
        Ok(())
    }

    fn permit(&mut self, id: &str, permission: Permission) {
        let account = self.records.account_mut(&self.partner.id);
        let Some(channel) = account.channels.get_mut(id) else {
            return;
        };
        if channel.permission == permission {
            return;
        }
        channel.permission = permission;
        let channel = channel.clone();
        let view = account.channel_view(&channel);
        let event = match permission {
            // Where the partner pays there is nothing to permit.
            Permission::Granted if self.partner.may_always_make_keys() => return,
            Permission::Granted => "channel_permission_granted",
            Permission::Revoked => "channel_permission_revoked",
            Permission::Unasked => return,
        };
        self.deliveries
            .extend(self.records.announce(self.partner, event, &view));
    }
}

fn without_duplicates(ids: Vec<String>) -> Vec<String> {
    let mut once = Vec::with_capacity(ids.len());
    for id in ids {
        if !once.contains(&id) {
            once.push(id);
        }
    }
    once
}

/// A phone number as the hub stores it, without what people put between the digits.
fn digits(text: &str) -> Result<String, Refusal> {
    let is_filler = |c: char| matches!(c, '+' | ' ' | '-' | '(' | ')' | '.');
    let digits: String = text.chars().filter(|c| !is_filler(*c)).collect();
    let is_plausible =
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plausible {
        Ok(digits)
    } else {
        Err(Refusal::MalformedPhoneNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Access, Billing};

    fn way_back(redirect_url: &str, state: Option<&str>, answer: String) -> String {
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
        Visit {
            partner: &partner,
            redirect_url,
            state,
            second: None,
        }
        .way_back(answer)
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_way_back_has_360dialogs_form() {
        let both = answer("oCL", &ids(&["aCH", "bCH"]), &ids(&["cCH"]));
        assert_eq!(
            way_back("https://app.example/back", Some("a.b c+d&e"), both),
            "https://app.example/back?client=oCL&channels=[aCH,bCH]&revoked=[cCH]&state=a.b%20c%2Bd%26e"
        );
        assert_eq!(
            way_back(
                "https://app.example/back?x=1#top",
                None,
                answer("oCL", &[], &ids(&["cCH"]))
            ),
            "https://app.example/back?x=1&client=oCL&revoked=[cCH]#top"
        );
        assert_eq!(
            way_back("https://app.example/?", None, answer("oCL", &[], &[])),
            "https://app.example/?client=oCL"
        );
    }

    #[test]
    fn a_cancelled_visit_carries_nothing_but_the_state() {
        assert_eq!(
            way_back("https://app.example/b", Some("s"), String::new()),
            "https://app.example/b?state=s"
        );
        assert_eq!(
            way_back("https://app.example/b", None, String::new()),
            "https://app.example/b"
        );
    }

    #[test]
    fn a_phone_number_is_its_digits() {
        assert_eq!(digits("+1 (212) 555-0123").unwrap(), "12125550123");
        for text in ["", "12", "call me", "1234567890123456", "1212555٠١٢٣"] {
            assert!(digits(text).is_err(), "{text}");
        }
    }
}
