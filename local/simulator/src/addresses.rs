//! The webhook URL and the redirect URL of a partner: those it has set through the Partner API, else the configured ones.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{settings::Partner, state::Records};

/// The addresses that a partner has set through the Partner API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Addresses {
    webhook_url: AddressSetting,
    redirect_url: AddressSetting,
}

/// An address that may have been set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AddressSetting {
    /// It was never set: the simulator's settings count.
    #[default]
    Unset,
    /// It was set to none.
    None,
    /// It was set to this address.
    Some(String),
}

impl AddressSetting {
    /// Parses an absolute http or https address. An empty text sets no address; any other text is refused with `None`.
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
    /// Sets the addresses that are given and leaves the others unchanged.
    pub(crate) fn set(
        &mut self,
        webhook_url: Option<AddressSetting>,
        redirect_url: Option<AddressSetting>,
    ) {
        if let Some(webhook_url) = webhook_url {
            self.webhook_url = webhook_url;
        }
        if let Some(redirect_url) = redirect_url {
            self.redirect_url = redirect_url;
        }
    }
}

impl Records {
    /// The address that the partner's webhooks are sent to.
    pub(crate) fn webhook_url<'a>(&'a self, partner: &'a Partner) -> Option<&'a str> {
        let configured = partner.webhook_url.as_deref();
        self.account(&partner.id).map_or(configured, |account| {
            account.addresses.webhook_url.or(configured)
        })
    }

    /// The address that a browser is redirected to if its link has no `redirect_url`.
    pub(crate) fn redirect_url<'a>(&'a self, partner: &'a Partner) -> Option<&'a str> {
        let configured = partner.redirect_url.as_deref();
        self.account(&partner.id).map_or(configured, |account| {
            account.addresses.redirect_url.or(configured)
        })
    }
}
