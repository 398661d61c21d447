//! Where a partner's webhooks and its clients' browsers go: what it has set itself, else what the settings say.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{settings::Partner, state::Records};

/// What a partner has set through the Partner API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Addresses {
    webhook_url: Setting,
    redirect_url: Setting,
}

/// An address that may have been set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Setting {
    /// Never: the hub's own settings count.
    #[default]
    Unset,
    /// To none.
    None,
    /// To this.
    Some(String),
}

impl Setting {
    /// The address `text`, none if it is empty; `None` unless it is an absolute http or https address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::None);
        }
        let is_http = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        is_http.then(|| Self::Some(text.to_owned()))
    }

    fn or<'a>(&'a self, configured: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Unset => configured,
            Self::None => None,
            Self::Some(address) => Some(address),
        }
    }
}

impl Addresses {
    /// Sets those that are given and leaves the others as they are.
    pub(crate) fn set(&mut self, webhook_url: Option<Setting>, redirect_url: Option<Setting>) {
        if let Some(webhook_url) = webhook_url {
            self.webhook_url = webhook_url;
        }
        if let Some(redirect_url) = redirect_url {
            self.redirect_url = redirect_url;
        }
    }
}

impl Records {
    /// Where the partner's webhooks go.
    pub(crate) fn webhook_url<'a>(&'a self, partner: &'a Partner) -> Option<&'a str> {
        let configured = partner.webhook_url.as_deref();
        self.account(&partner.id).map_or(configured, |account| {
            account.addresses.webhook_url.or(configured)
        })
    }

    /// Where a browser goes whose link names no address.
    pub(crate) fn redirect_url<'a>(&'a self, partner: &'a Partner) -> Option<&'a str> {
        let configured = partner.redirect_url.as_deref();
        self.account(&partner.id).map_or(configured, |account| {
            account.addresses.redirect_url.or(configured)
        })
    }
}
