//! Which bundle is connected: its address, its partners, their secrets, the Partner API and the table.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use local::embedded::Embedded;
use onboarding::id::PartnerId;
use platform::hub_api::KeysPath;
use platform::secrets::SecretSource;
use platform::settings::{BaseUrl, PartnerIds};
use platform::table::Table;
use url::{Host, Url};

use super::machine::MachineError;
use super::partner_api::Rate;
use super::stack::StackError;

/// Why no bundle can be connected; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The stack cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The bundle on this machine cannot be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A partner was named that the bundle does not serve.
    #[error("the bundle does not serve partner {0}: name one of {1}")]
    NotServed(PartnerId, String),
    /// The address is no address of one bundle.
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

/// Where things are kept, for the words of advice.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A stack on AWS.
    Stack {
        name: String,
        region: String,
        secret_prefix: String,
        table: String,
    },
    /// This machine.
    Machine { secrets_file: PathBuf },
}

/// What a target is made of, before it is checked.
pub(crate) struct Parts {
    pub(crate) place: Place,
    pub(crate) address: BaseUrl,
    pub(crate) served: PartnerIds,
    pub(crate) api: BaseUrl,
    pub(crate) keys_path: KeysPath,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) table: Table,
    /// What keeps the table open where no bundle runs.
    pub(crate) _embedded: Option<Embedded>,
}

/// A bundle that can be connected.
pub struct Target {
    parts: Parts,
    partners: Vec<PartnerId>,
}

impl Target {
    /// The bundle of `parts`, and of its partners those of `only`; all if that is empty.
    pub(crate) fn new(parts: Parts, only: &[PartnerId]) -> Result<Self, TargetError> {
        if parts.address.as_str().contains('{') {
            return Err(TargetError::Address);
        }
        let (ours, api) = (
            Url::parse(parts.address.as_str()).ok(),
            Url::parse(parts.api.as_str()).ok(),
        );
        let is_near = ours
            .as_ref()
            .is_none_or(|url| url.scheme() != "https" || is_this_machine(url));
        if is_near && !api.as_ref().is_some_and(is_this_machine) {
            return Err(TargetError::Unreachable(super::shown(
                parts.address.as_str(),
            )));
        }
        for partner in only {
            if parts.served.find(partner.as_str()).is_none() {
                let served: Vec<&str> = parts.served.iter().map(PartnerId::as_str).collect();
                return Err(TargetError::NotServed(partner.clone(), served.join(", ")));
            }
        }
        let is_meant = |partner: &&PartnerId| only.is_empty() || only.contains(partner);
        let partners = parts.served.iter().filter(is_meant).cloned().collect();
        Ok(Self { parts, partners })
    }

    /// What it is, in words.
    pub(crate) fn name(&self) -> String {
        match &self.parts.place {
            Place::Stack { name, region, .. } => format!("stack {name} in {region}"),
            Place::Machine { .. } => "the bundle of this machine".to_owned(),
        }
    }

    /// Its address, without a slash at the end.
    pub(crate) fn address(&self) -> &str {
        self.parts.address.as_str()
    }

    /// The partners to connect.
    pub(crate) fn partners(&self) -> &[PartnerId] {
        &self.partners
    }

    /// The Partner API's address.
    pub(crate) fn api(&self) -> &BaseUrl {
        &self.parts.api
    }

    /// The path that lists keys.
    pub(crate) fn keys_path(&self) -> &KeysPath {
        &self.parts.keys_path
    }

    /// How fast the Partner API may be asked: one on this machine is simulated.
    pub(crate) fn rate(&self) -> Rate {
        let is_near = Url::parse(self.api().as_str()).is_ok_and(|url| is_this_machine(&url));
        if is_near {
            Rate::unlimited()
        } else {
            Rate::of_360dialog()
        }
    }

    /// The partner secrets.
    pub(crate) fn secrets(&self) -> &dyn SecretSource {
        &*self.parts.secrets
    }

    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.parts.table
    }

    /// Where a partner's secret is kept, in words.
    pub(crate) fn secret_of(&self, partner: &PartnerId) -> String {
        match &self.parts.place {
            Place::Stack { secret_prefix, .. } => {
                format!("the secret {secret_prefix}{partner} in Secrets Manager")
            }
            Place::Machine { secrets_file } => {
                format!("the entry {partner} in {}", secrets_file.display())
            }
        }
    }

    /// What the table asks for, in words.
    pub(crate) fn table_advice(&self) -> String {
        match &self.parts.place {
            Place::Stack { table, .. } => {
                format!(
                    "your AWS credentials need dynamodb:GetItem and dynamodb:PutItem on the table {table}"
                )
            }
            Place::Machine { .. } => "start the bundle, and set DATA to its directory".to_owned(),
        }
    }
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
    use local::secrets_file::SecretsFile;

    use super::*;

    fn target(address: &str, api: &str, only: &[&str]) -> Result<Target, String> {
        let only: Vec<PartnerId> = only.iter().map(|id| id.parse().unwrap()).collect();
        let parts = Parts {
            place: Place::Machine {
                secrets_file: "s.json".into(),
            },
            address: address.parse().unwrap(),
            served: "aPA,bPA".parse().unwrap(),
            api: api.parse().unwrap(),
            keys_path: KeysPath::default(),
            secrets: Arc::new(SecretsFile::at("s.json")),
            table: Table::at_endpoint("http://127.0.0.1:1", "onboarding"),
            _embedded: None,
        };
        Target::new(parts, &only).map_err(|error| error.to_string())
    }

    const PUBLIC: &str = "https://x.example";
    const HUB: &str = "https://hub.360dialog.io/api/v2";

    #[test]
    fn all_partners_are_meant_unless_some_are_named() {
        assert_eq!(target(PUBLIC, HUB, &[]).unwrap().partners().len(), 2);
        assert_eq!(
            target(PUBLIC, HUB, &["bPA"]).unwrap().partners(),
            ["bPA".parse().unwrap()]
        );
        let error = target(PUBLIC, HUB, &["cPA"]).err().unwrap();
        assert_eq!(
            error,
            "the bundle does not serve partner cPA: name one of aPA, bPA"
        );
    }

    #[test]
    fn an_address_that_360dialog_cannot_reach_is_refused() {
        for address in [
            "http://x.example",
            "https://127.0.0.1:8360",
            "https://localhost",
            "http://[::1]:8360",
        ] {
            let error = target(address, HUB, &[]).err().unwrap();
            assert!(
                error.starts_with(&format!("360dialog cannot reach {address}")),
                "{error}"
            );
            assert!(target(address, "http://127.0.0.1:8082/api/v2", &[]).is_ok());
        }
        assert!(
            target("https://{partner_id}.example", HUB, &[])
                .err()
                .unwrap()
                .contains("plain address")
        );
    }
}
