//! Applies a client's choice to the records: clients, channels, permissions, and the webhooks that report them.

use jiff::Timestamp;

use crate::{
    channel::{Channel, Permission},
    id,
    onboarding::{Choice, Contact, NewNumber, Refusal},
    settings::Partner,
    state::{Client, Delivery, Records},
};

/// A choice on its way into the records, with the webhooks that it causes.
pub(crate) struct Completion<'a> {
    partner: &'a Partner,
    contact: &'a Contact,
    records: &'a mut Records,
    now: Timestamp,
    deliveries: Vec<Delivery>,
    started: Vec<String>,
}

/// The outcome of a choice.
pub(crate) struct Completed {
    pub(crate) client: String,
    pub(crate) granted: Vec<String>,
    pub(crate) revoked: Vec<String>,
    pub(crate) deliveries: Vec<Delivery>,
    /// New channels, whose stages begin now.
    pub(crate) started: Vec<String>,
}

impl<'a> Completion<'a> {
    pub(crate) fn new(
        partner: &'a Partner,
        contact: &'a Contact,
        records: &'a mut Records,
        now: Timestamp,
    ) -> Self {
        Self {
            partner,
            contact,
            records,
            now,
            deliveries: Vec::new(),
            started: Vec::new(),
        }
    }

    /// Applies the choice to the records.
    pub(crate) fn apply(mut self, choice: Choice) -> Result<Completed, Refusal> {
        let client = self.client(choice.client, choice.client_name)?;
        let mut granted = without_duplicates(choice.grant);
        let revoked = without_duplicates(choice.revoke);
        if granted.iter().any(|channel| revoked.contains(channel)) {
            return Err(Refusal::GrantedAndRevoked);
        }
        for channel in granted.iter().chain(&revoked) {
            let number = NewNumber {
                coexistence: choice.coexistence,
                ..NewNumber::default()
            };
            self.channel(&client, channel, number)?;
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
        Ok(Completed {
            client,
            granted,
            revoked,
            deliveries: self.deliveries,
            started: self.started,
        })
    }

    /// Returns the id of the client, and creates the client if it does not exist.
    fn client(&mut self, named: Option<String>, name: Option<String>) -> Result<String, Refusal> {
        let id = named.unwrap_or_else(id::client);
        if !id::is_id(&id) {
            return Err(Refusal::MalformedId);
        }
        let account = self.records.account_mut(&self.partner.id);
        let contact = self.contact.clone();
        if let Some(client) = account.clients.get_mut(&id) {
            client.email = client.email.take().or(contact.email);
            client.payload = client.payload.take().or(contact.payload);
            return Ok(id);
        }
        let client = Client {
            id: id.clone(),
            name: name.unwrap_or_else(|| format!("Client {id}")),
            created_at: self.now,
            email: contact.email,
            payload: contact.payload,
        };
        let data = client.event_data();
        account.clients.insert(id.clone(), client);
        self.deliveries.extend(
            self.records
                .queue_webhook(self.partner, "client_created", &data),
        );
        Ok(id)
    }

    /// Creates a channel unless it exists; refuses a channel of another client.
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
        let mut channel = Channel::new(id, client, phone_number, self.now);
        if let Some(name) = number.name {
            channel.phone_name = name;
        }
        channel.coexistence = number.coexistence;
        let view = account.channel_view(&channel);
        account.channels.insert(id.to_owned(), channel);
        self.started.push(id.to_owned());
        self.deliveries.extend(
            self.records
                .queue_webhook(self.partner, "channel_created", &view),
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
        let is_needless = permission == Permission::Granted && self.partner.may_always_make_keys();
        // If the partner pays, no permission is needed, so no event is sent.
        let Some(event) = permission.event().filter(|_| !is_needless) else {
            return;
        };
        self.deliveries
            .extend(self.records.queue_webhook(self.partner, event, &view));
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

/// The digits of a phone number, without the separators that people type.
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

    #[test]
    fn a_phone_number_is_its_digits() {
        assert_eq!(digits("+1 (212) 555-0123").unwrap(), "12125550123");
        for text in ["", "12", "call me", "1234567890123456", "1212555٠١٢٣"] {
            assert!(digits(text).is_err(), "{text}");
        }
    }
}
