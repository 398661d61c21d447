//! The target of `connect`: an instance, its address and its partners.

use std::net::IpAddr;

use dialog360::id::PartnerId;
use onboarding::queue::Rate;
use runtime::settings::BaseUrl;
use url::{Host, Url};

use crate::instance::{ConnectionSettings, Instance, OperatorError};
use crate::reporter::redacted;

/// Why an instance cannot be connected. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The instance cannot be read.
    #[error(transparent)]
    Instance(#[from] OperatorError),
    /// The bundle does not serve a partner that was named.
    #[error("the bundle does not serve partner {0}: name one of {1}")]
    NotServed(PartnerId, String),
    /// The address holds `{partner_id}`, so it is not that of one bundle.
    #[error(
        "the bundle's address must be a plain address such as https://x.example, without {{partner_id}}"
    )]
    Address,
    /// 360dialog cannot reach such an address.
    #[error(
        "360dialog cannot reach {0}: give an address that starts with https:// and is not of this machine"
    )]
    Unreachable(String),
}

/// An instance that can be connected.
pub struct Target<'i> {
    instance: &'i Instance,
    settings: ConnectionSettings,
    rate: Rate,
    partners: Vec<PartnerId>,
}

impl<'i> Target<'i> {
    /// The partners in `only`, or all that `instance` serves if it is empty. `address` replaces the address of a bundle
    /// on this machine.
    pub fn new(
        instance: &'i Instance,
        address: Option<BaseUrl>,
        only: &[PartnerId],
    ) -> Result<Self, TargetError> {
        let settings = instance.connection_settings(address)?;
        Ok(Self {
            partners: partners(&settings, only)?,
            instance,
            rate: instance.rate()?,
            settings,
        })
    }

    /// The instance.
    pub(crate) fn instance(&self) -> &'i Instance {
        self.instance
    }

    /// The bundle's address, without a slash at the end.
    pub(crate) fn address(&self) -> &str {
        self.settings.address.as_str()
    }

    /// The partners to connect.
    pub(crate) fn partners(&self) -> &[PartnerId] {
        &self.partners
    }

    /// The settings for connecting.
    pub(crate) fn connection_settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// The limit on calls of 360dialog, for each partner.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }
}

/// The partners to connect. Fails if 360dialog cannot reach the address.
fn partners(
    settings: &ConnectionSettings,
    only: &[PartnerId],
) -> Result<Vec<PartnerId>, TargetError> {
    let address = settings.address.as_str();
    if address.contains('{') {
        return Err(TargetError::Address);
    }
    let (ours, api) = (
        Url::parse(address).ok(),
        Url::parse(settings.api.as_str()).ok(),
    );
    let is_unreachable = |url: &Url| url.scheme() != "https" || is_this_machine(url);
    let is_unreachable = ours.as_ref().is_none_or(is_unreachable);
    if is_unreachable && !api.as_ref().is_some_and(is_this_machine) {
        return Err(TargetError::Unreachable(redacted(address)));
    }
    for partner in only {
        if settings.served.find(partner.as_str()).is_none() {
            let served: Vec<&str> = settings.served.iter().map(PartnerId::as_str).collect();
            return Err(TargetError::NotServed(partner.clone(), served.join(", ")));
        }
    }
    let is_chosen = |partner: &&PartnerId| only.is_empty() || only.contains(partner);
    Ok(settings.served.iter().filter(is_chosen).cloned().collect())
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dialog360::client::KeysPath;
    use embedded::secrets_file::SecretsFile;

    use super::*;

    fn named(address: &str, api: &str, only: &[&str]) -> Result<Vec<String>, String> {
        let only: Vec<PartnerId> = only.iter().map(|id| id.parse().unwrap()).collect();
        let settings = ConnectionSettings {
            address: address.parse().unwrap(),
            served: "aPA,bPA".parse().unwrap(),
            api: api.parse().unwrap(),
            keys_path: KeysPath::default(),
            secrets: Arc::new(SecretsFile::at("s.json")),
        };
        let partners = partners(&settings, &only).map_err(|error| error.to_string())?;
        Ok(partners.iter().map(PartnerId::to_string).collect())
    }

    const PUBLIC: &str = "https://x.example";
    const API: &str = "https://hub.360dialog.io/api/v2";

    #[test]
    fn all_partners_are_connected_unless_some_are_named() {
        assert_eq!(named(PUBLIC, API, &[]).unwrap(), ["aPA", "bPA"]);
        assert_eq!(named(PUBLIC, API, &["bPA"]).unwrap(), ["bPA"]);
        let error = "the bundle does not serve partner cPA: name one of aPA, bPA";
        assert_eq!(named(PUBLIC, API, &["cPA"]).unwrap_err(), error);
    }

    #[test]
    fn an_address_that_360dialog_cannot_reach_is_refused() {
        for address in [
            "http://x.example",
            "https://127.0.0.1:8360",
            "https://localhost",
            "http://[::1]:8360",
        ] {
            let error = named(address, API, &[]).unwrap_err();
            let expected = format!("360dialog cannot reach {address}");
            assert!(error.starts_with(&expected), "{error}");
            assert!(named(address, "http://127.0.0.1:8082/api/v2", &[]).is_ok());
        }
        let error = named("https://{partner_id}.example", API, &[]).unwrap_err();
        assert!(error.contains("plain address"), "{error}");
    }
}
