//! Lists what waits for an operator, a line for each: held claims, contested clients, blocked keys, and numbers that belong
//! to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use dialog360::id::{ClientId, PartnerId};
use onboarding::channel::Channel;
use onboarding::claim::{Claim, ClaimStatus};
use onboarding::fact::KeyStatus;
use onboarding::tenant::Tenant;
use serde_json::json;
use store::table::{ALONE, Item, PK, SK, parse, prefix};
use store::{Error, StoredChannel, StoredClaim, StoredClient};

use crate::instance::{Instance, OperatorError};
use crate::reporter::{add_line, word};

/// How many ids or tenants a line shows.
const MOST_SHOWN: usize = 10;

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Claims that an operator must decide.
    Held,
    /// Clients that several tenants claim.
    Contested,
    /// Channels whose key only an operator can bring on.
    Blocked,
    /// Channels that belong to no tenant.
    Unclaimed,
}

impl List {
    /// All lists.
    pub const ALL: [Self; 4] = [Self::Held, Self::Contested, Self::Blocked, Self::Unclaimed];

    fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Contested => "contested",
            Self::Blocked => "blocked",
            Self::Unclaimed => "unclaimed",
        }
    }

    fn lines(self, known: &Known) -> Vec<String> {
        match self {
            Self::Held => known.held(),
            Self::Contested => known.contested(),
            Self::Blocked => known.blocked(),
            Self::Unclaimed => known.unclaimed(),
        }
    }
}

impl Instance {
    /// The entries of `lists` at a partner, a line for each, and how many there are.
    pub async fn list(&self, partner: &PartnerId, lists: &[List]) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let kinds = [prefix::CLAIM, prefix::CLIENT, prefix::CHANNEL];
        let items = self.table().scan_kinds(partner, &kinds).await;
        let known = items.and_then(|items| Known::from_items(&items));
        let known = known.map_err(|error| self.store_error(error))?;
        let (mut text, mut counts) = (String::new(), Vec::new());
        for list in lists {
            let lines = list.lines(&known);
            counts.push(format!("{} {}", lines.len(), list.name()));
            for line in lines {
                add_line(&mut text, &format!("{:<9}  {line}", list.name()));
            }
        }
        add_line(&mut text, &counts.join(", "));
        Ok(text)
    }
}

/// The claims, clients and channels of a partner, each in the order of its list.
#[derive(Default)]
struct Known {
    open: Vec<Claim>,
    clients: BTreeMap<ClientId, StoredClient>,
    channels: Vec<Channel>,
}

impl Known {
    fn from_items(items: &[Item]) -> Result<Self, Error> {
        let mut known = Self::default();
        for item in items {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
            let Some((kind, _, rest)) = text(PK).and_then(|pk| parse(pk)) else {
                continue;
            };
            // Beside a client lie the pointers to its claims.
            if text(SK).is_none_or(|sk| sk != ALONE) {
                continue;
            }
            match kind {
                prefix::CLAIM => known.open.push(StoredClaim::from_item(item)?.claim),
                prefix::CHANNEL => known.channels.push(StoredChannel::from_item(item)?.channel),
                _ => {
                    let id = rest.parse();
                    let id = id.map_err(|_| Error::Malformed("the id of a client"))?;
                    known.clients.insert(id, StoredClient::from_item(item)?);
                }
            }
        }
        known.open.retain(Claim::is_open);
        known
            .open
            .sort_by_key(|claim| (claim.received_at, claim.id.clone()));
        known
            .channels
            .sort_by_key(|channel| channel.id.channel.clone());
        Ok(known)
    }

    fn held(&self) -> Vec<String> {
        let held = self.open.iter();
        let held = held.filter(|claim| claim.status == ClaimStatus::Held);
        held.map(claim_in_words).collect()
    }

    fn contested(&self) -> Vec<String> {
        let mut tenants: BTreeMap<&ClientId, BTreeSet<&Tenant>> = BTreeMap::new();
        for claim in &self.open {
            tenants
                .entry(&claim.client)
                .or_default()
                .insert(&claim.tenant);
        }
        let contested = tenants.iter().filter(|(_, tenants)| tenants.len() > 1);
        let line = |(client, tenants): (&&ClientId, &BTreeSet<&Tenant>)| {
            let owner = self.clients.get(*client).and_then(|it| it.owner.as_ref());
            let owner = owner.map_or("-".to_owned(), |owner| word(owner.as_str()));
            let tenants = tenants.iter().map(|tenant| word(tenant.as_str()));
            format!("client={client} owner={owner} tenants={}", some(tenants))
        };
        contested.map(line).collect()
    }

    fn blocked(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for channel in &self.channels {
            let key = channel.key.as_ref();
            let Some(key) = key.filter(|key| key.value.status == KeyStatus::Blocked) else {
                continue;
            };
            let tenant = channel.tenant();
            let tenant = tenant.map_or("-".to_owned(), |tenant| word(tenant.as_str()));
            let binding = channel.binding.as_ref();
            let client = binding.map_or("-", |binding| binding.value.client.as_str());
            let reason = json!(key.value.reason);
            let reason = reason.as_str().unwrap_or("-");
            let (id, at) = (&channel.id.channel, key.at);
            lines.push(format!(
                "channel={id} client={client} tenant={tenant} reason={reason} since={at}"
            ));
        }
        lines
    }

    fn unclaimed(&self) -> Vec<String> {
        let unbound = self.channels.iter();
        let unbound = unbound.filter(|channel| channel.binding.is_none());
        let line = |channel: &Channel| {
            let client = channel.client.as_ref();
            let client = client.map_or("-", |client| client.value.as_str());
            let stage = json!(channel.stage());
            let stage = stage.as_str().unwrap_or("-");
            let at = channel.updated_at().unwrap_or_default();
            let id = &channel.id.channel;
            format!("channel={id} client={client} stage={stage} updated={at}")
        };
        unbound.map(line).collect()
    }
}

fn claim_in_words(claim: &Claim) -> String {
    let Claim {
        id,
        client,
        tenant,
        received_at,
        ..
    } = claim;
    let (channels, revoked) = (some(&claim.channels), some(&claim.revoked));
    let tenant = word(tenant.as_str());
    format!(
        "claim={id} client={client} tenant={tenant} since={received_at} channels={channels} revoked={revoked}"
    )
}

/// The first of many, and how many others there are.
fn some<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let shown = all.by_ref().take(MOST_SHOWN).map(|it| it.to_string());
    let mut shown: Vec<String> = shown.collect();
    let others = all.count();
    if others > 0 {
        shown.push(format!("+{others}"));
    }
    match shown.is_empty() {
        true => "-".to_owned(),
        false => shown.join(","),
    }
}

#[cfg(test)]
mod tests {
    use dialog360::redirect::RedirectQuery;
    use jiff::Timestamp;

    use super::*;

    fn claim(tenant: &str, query: &str, second: i64) -> Claim {
        let query = RedirectQuery::parse(query).unwrap();
        let at = Timestamp::from_second(second).unwrap();
        let (partner, tenant) = ("aPA".parse().unwrap(), tenant.parse().unwrap());
        Claim::from_caller(&partner, &tenant, &query, at).unwrap()
    }

    #[test]
    fn a_held_claim_is_one_line_whatever_its_tenant_is_called() {
        let mut held = claim("a\nheld  b", "client=aCL&channels=[oneCH,twoCH]", 0);
        held.hold();
        let known = Known {
            open: vec![held.clone(), claim("acme", "client=bCL", 1)],
            ..Known::default()
        };
        let expected = format!(
            "claim={} client=aCL tenant=\"a\\nheld  b\" since=1970-01-01T00:00:00Z channels=oneCH,twoCH revoked=-",
            held.id
        );
        assert_eq!(known.held(), [expected]);
    }

    #[test]
    fn a_client_is_contested_by_open_claims_of_several_tenants() {
        let known = Known {
            open: [
                ("acme", "aCL"),
                ("acme", "bCL"),
                ("globex", "bCL"),
                ("acme", "aCL"),
            ]
            .map(|(tenant, client)| claim(tenant, &format!("client={client}"), 0))
            .into(),
            ..Known::default()
        };
        assert_eq!(
            known.contested(),
            ["client=bCL owner=- tenants=acme,globex"]
        );
    }

    #[test]
    fn a_line_shows_ten_of_many() {
        assert_eq!(some(0..3), "0,1,2");
        assert_eq!(some(0..12), "0,1,2,3,4,5,6,7,8,9,+2");
        assert_eq!(some([0; 0]), "-");
    }
}
