//! The instance that a command works on: a stack on AWS, or the data directory of one machine.

mod machine;
mod stack;

pub use machine::MachineError;
pub use stack::StackError;

use std::sync::Arc;

use dialog360::client::KeysPath;
use dialog360::event::EventId;
use dialog360::id::{ChannelRef, PartnerId};
use dialog360::secret::Secret;
use embedded::database::EmbeddedError;
use onboarding::queue::Rate;
use runtime::clock;
use runtime::seal::{ChannelKey, KeySeal, SealError};
use runtime::secrets::SecretSource;
use runtime::settings::{BaseUrl, Environment, PartnerIds};
use store::table::Table;
use store::{Bodies, Channels, Error, Facts, Hooks, KeyFingerprint, Mints, StoredBody};

use crate::decision::DecisionError;
use crate::why;
use machine::Machine;
use stack::Stack;

/// Why a command failed. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The stack cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The data directory cannot be read.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The table failed.
    #[error("{0}: {1}")]
    Store(Error, String),
    /// A key could not be sealed or opened.
    #[error("{0}: {1}")]
    Seal(SealError, &'static str),
    /// The bundle does not serve the partner.
    #[error("the bundle serves no partner {0}: check the id, and {1}")]
    UnknownPartner(PartnerId, &'static str),
    /// The decision cannot be made.
    #[error(transparent)]
    Decision(#[from] DecisionError),
    /// There are no facts about the channel.
    #[error("nothing is known of channel {channel} of {partner}: check both ids, and {place}")]
    UnknownChannel {
        /// The partner.
        partner: PartnerId,
        /// The channel.
        channel: dialog360::id::ChannelId,
        /// The option that chooses the instance.
        place: &'static str,
    },
    /// No event with this id was given up.
    #[error("no event {1} of {0} was given up: `operator dead {0}` lists them")]
    NotDead(PartnerId, String),
    /// There is no event with this id.
    #[error(
        "no event {id} of {partner} is stored: check both, and {place}; events are kept for 90 days"
    )]
    UnknownEvent {
        /// The partner.
        partner: PartnerId,
        /// The event.
        id: EventId,
        /// The option that chooses the instance.
        place: &'static str,
    },
    /// The event is there, but not its body.
    #[error(
        "the body of event {0} has expired: large bodies, and those with chats, are kept for 14 days"
    )]
    ExpiredBody(EventId),
    /// The channel has no stored key.
    #[error(
        "channel {channel} of {partner} has no stored key: `operator why {partner} {channel}` says why"
    )]
    NoKey {
        /// The partner.
        partner: PartnerId,
        /// The channel.
        channel: dialog360::id::ChannelId,
    },
}

impl From<EmbeddedError> for OperatorError {
    fn from(error: EmbeddedError) -> Self {
        Self::Machine(error.into())
    }
}

/// A bundle: a stack on AWS, or a data directory.
pub struct Instance(Backend);

enum Backend {
    Stack(Box<Stack>),
    Machine(Box<Machine>),
}

/// The settings of a bundle that `connect` needs.
pub(crate) struct ConnectionSettings {
    /// The address at which 360dialog reaches it.
    pub(crate) address: BaseUrl,
    /// The partners it serves.
    pub(crate) served: PartnerIds,
    /// The Partner API's address.
    pub(crate) api: BaseUrl,
    /// The path that lists keys.
    pub(crate) keys_path: KeysPath,
    /// The source of the partner secrets.
    pub(crate) secrets: Arc<dyn SecretSource>,
}

impl Instance {
    /// The bundle of the CloudFormation stack `name`, with the credentials that AWS's own tools use.
    pub async fn from_stack(name: &str) -> Result<Self, OperatorError> {
        let stack = Stack::read(name).await?;
        Ok(Self(Backend::Stack(Box::new(stack))))
    }

    /// The bundle of the data directory that `environment` names (`DATA`), running or not.
    pub async fn from_data(environment: &Environment) -> Result<Self, OperatorError> {
        let machine = Machine::open(environment).await?;
        Ok(Self(Backend::Machine(Box::new(machine))))
    }

    /// Its name, for the output.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            Backend::Stack(stack) => stack.name(),
            Backend::Machine(_) => "the bundle of this machine".to_owned(),
        }
    }

    /// Its table.
    pub(crate) fn table(&self) -> &Table {
        match &self.0 {
            Backend::Stack(stack) => &stack.table,
            Backend::Machine(machine) => &machine.table,
        }
    }

    /// The advice if its table fails.
    pub(crate) fn table_advice(&self) -> String {
        match &self.0 {
            Backend::Stack(stack) => stack.table_advice(),
            Backend::Machine(_) => "start the bundle, and set DATA to its directory".to_owned(),
        }
    }

    /// The table of a stack; `None` on one machine.
    pub(crate) fn table_of_stack(&self) -> Option<&Table> {
        match &self.0 {
            Backend::Stack(stack) => Some(&stack.table),
            Backend::Machine(_) => None,
        }
    }

    /// The location of a partner's secret, for messages.
    pub(crate) fn secret_location(&self, partner: &PartnerId) -> String {
        match &self.0 {
            Backend::Stack(stack) => stack.secret_location(partner),
            Backend::Machine(machine) => machine.secret_location(partner),
        }
    }

    /// The settings for connecting. `address` replaces the address of a bundle on this machine.
    pub(crate) fn connection_settings(
        &self,
        address: Option<BaseUrl>,
    ) -> Result<ConnectionSettings, OperatorError> {
        match &self.0 {
            Backend::Stack(stack) => Ok(stack.connection_settings()?),
            Backend::Machine(machine) => Ok(machine.connection_settings(address)?),
        }
    }

    /// An error if the bundle does not serve `partner`.
    pub(crate) fn must_serve(&self, partner: &PartnerId) -> Result<(), OperatorError> {
        let served = match &self.0 {
            Backend::Stack(stack) => Some(stack.served()?),
            Backend::Machine(machine) => machine.served()?,
        };
        let is_served = |served: PartnerIds| served.find(partner.as_str()).is_some();
        if served.is_none_or(is_served) {
            return Ok(());
        }
        let option = self.option();
        Err(OperatorError::UnknownPartner(partner.clone(), option))
    }

    /// The limit on calls of 360dialog, for each partner.
    pub(crate) fn rate(&self) -> Result<Rate, OperatorError> {
        match &self.0 {
            Backend::Stack(stack) => Ok(stack.rate()?),
            Backend::Machine(machine) => Ok(machine.rate()?),
        }
    }

    /// The error for a failure of the table, with the advice of the commands that scan and decide.
    pub(crate) fn store_error(&self, error: Error) -> OperatorError {
        let advice = match &self.0 {
            Backend::Stack(_) => {
                "your AWS credentials need the rights on the table that docs/operate.md names"
                    .to_owned()
            }
            Backend::Machine(_) => self.table_advice(),
        };
        OperatorError::Store(error, advice)
    }

    /// Describes a channel, when it is due, and its facts in order with what each changed.
    pub async fn why(&self, id: &ChannelRef) -> Result<String, OperatorError> {
        let failed = |error| OperatorError::Store(error, self.table_advice());
        let table = self.table();
        let facts = Facts::new(table.clone()).list(id).await.map_err(failed)?;
        let stored = Channels::new(table.clone())
            .read(id)
            .await
            .map_err(failed)?;
        if facts.is_empty() && !stored.exists() {
            return Err(self.unknown(id));
        }
        let mints = Mints::new(table.clone());
        let mint = mints.inspect(id).await.map_err(failed)?;
        let hook = Hooks::new(table.clone()).read(id).await.map_err(failed)?;
        Ok(why::report(&stored.channel, &facts, &mint, &hook))
    }

    pub(crate) fn unknown(&self, ChannelRef { partner, channel }: &ChannelRef) -> OperatorError {
        OperatorError::UnknownChannel {
            partner: partner.clone(),
            channel: channel.clone(),
            place: self.option(),
        }
    }

    /// The option that chose this instance.
    fn option(&self) -> &'static str {
        match self.0 {
            Backend::Stack(_) => "--stack",
            Backend::Machine(_) => "DATA",
        }
    }

    /// The bytes of the event `id`, as 360dialog sent them.
    pub async fn event(&self, partner: &PartnerId, id: &EventId) -> Result<Vec<u8>, OperatorError> {
        let failed = |error| OperatorError::Store(error, self.table_advice());
        let bodies = match &self.0 {
            Backend::Stack(stack) => stack.bodies()?,
            Backend::Machine(machine) => machine.bodies.clone(),
        };
        let bodies = Bodies::new(bodies);
        let apart = bodies.read(partner, id.as_str(), clock::now()).await;
        if let Some(body) = apart.map_err(failed)? {
            return Ok(body);
        }
        let facts = Facts::new(self.table().clone());
        let raw = facts.read_raw(partner, id.as_str()).await.map_err(failed)?;
        let stored = match raw {
            Some(raw) => Some(raw.body),
            None => {
                let fact = facts.find(partner, id.as_str()).await.map_err(failed)?;
                fact.and_then(|fact| fact.body)
            }
        };
        match stored {
            Some(StoredBody::Here(body)) => Ok(body),
            Some(StoredBody::Apart { .. }) => Err(OperatorError::ExpiredBody(id.clone())),
            None => Err(OperatorError::UnknownEvent {
                partner: partner.clone(),
                id: id.clone(),
                place: self.option(),
            }),
        }
    }

    /// The channel's API key.
    pub async fn key(&self, id: &ChannelRef) -> Result<Secret, OperatorError> {
        let failed = |error| OperatorError::Store(error, self.table_advice());
        let mint = Mints::new(self.table().clone()).read(id).await;
        let stored = mint.map_err(failed)?.stored;
        let stored = stored.ok_or_else(|| OperatorError::NoKey {
            partner: id.partner.clone(),
            channel: id.channel.clone(),
        })?;
        let text = self.seal()?.open(id, &stored.sealed).await;
        let key = text.and_then(|text| ChannelKey::from_json(&text));
        Ok(key.map_err(|error| self.seal_error(error))?.api_key)
    }

    /// The seal of its API keys.
    pub(crate) fn seal(&self) -> Result<Arc<dyn KeySeal>, OperatorError> {
        Ok(match &self.0 {
            Backend::Stack(stack) => Arc::new(stack.seal()?),
            Backend::Machine(machine) => Arc::new(machine.keys.clone()),
        })
    }

    /// Makes the key with which a data directory seals from now on; a stack has its key by parameter.
    pub(crate) async fn renew_key(&self) -> Result<(), OperatorError> {
        if let Backend::Machine(machine) = &self.0 {
            let fingerprint = KeyFingerprint::new(machine.table.clone());
            let added = machine.keys.add_key(&fingerprint).await;
            added.map_err(MachineError::from)?;
        }
        Ok(())
    }

    /// The error for a failure of sealing or opening.
    pub(crate) fn seal_error(&self, error: SealError) -> OperatorError {
        let advice = match &self.0 {
            Backend::Stack(_) => {
                "your AWS credentials need kms:Decrypt on the KMS key that the output KeyEncryptionKey names, and on \
                 former ones; attach the policy ReadChannelKeys"
            }
            Backend::Machine(_) => {
                "set DATA to the directory of the bundle, with its file encryption.key"
            }
        };
        OperatorError::Seal(error, advice)
    }
}
