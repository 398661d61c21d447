//! Seals a new key and stores it together with its verdict, in one write under the lease; then tells it. 360dialog shows a
//! key once, so a key that cannot be sealed at once is tried for a while.

use std::time::Duration;

use dialog360::client::NewKey;
use dialog360::id::ChannelRef;
use dialog360::secret::Secret;
use onboarding::channel::LastWrite;
use onboarding::fact::{KeyReason, KeyState};
use onboarding::intent::Intent;
use runtime::clock;
use runtime::seal::{ChannelKey, SealError};
use runtime::token;
use store::{Error, StoredKey, Write};
use tokio::time::{Instant, sleep};

use crate::Provision;
use crate::key::{Known, Missing, Outcome};
use crate::mint::until_late_posts;
use crate::retry::RetryAt;
use crate::worker::{Stopped, Worker};

/// How long a new key is tried to be sealed: a run has twice as much left for a key that was begun.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause between two attempts; each is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Outcome of storing a key.
enum Kept {
    /// It is stored.
    Done,
    /// The lease was lost: its new holder finds the key in 360dialog's list.
    LeaseLost,
    /// It could not be sealed.
    NotSealed,
}

impl Worker<'_> {
    /// Stores the key that the last POST of `intent` made, and tells it; `None` if the lease was lost.
    pub(crate) async fn keep(
        &mut self,
        known: &mut Known,
        intent: Intent,
        key: NewKey,
    ) -> Result<Option<Outcome>, Stopped> {
        let provision = self.provision;
        let mut key = ChannelKey {
            api_key: key.api_key,
            key_id: key.id,
            address: key.address,
        };
        let open = intent.clone().stored(clock::now());
        match provision.seal_and_write(known, &key, open.as_ref()).await? {
            Kept::Done => {}
            Kept::LeaseLost => return Ok(None),
            Kept::NotSealed => {
                let intent = match key.key_id {
                    Some(id) => intent.made(id),
                    None => intent,
                };
                return Ok(Some(not_sealed(Some(intent))));
            }
        }
        if key.key_id.is_none() {
            key.key_id = self.only_key(known).await?;
        }
        if key.key_id.is_some() && known.stored_id() != key.key_id.as_deref() {
            let again = provision.seal_and_write(known, &key, open.as_ref()).await?;
            if matches!(again, Kept::LeaseLost) {
                return Ok(None);
            }
        }
        provision.tell(known).await?;
        let retry_at = until_late_posts(open.as_ref());
        let outcome = Outcome::silent(retry_at, open).understood();
        Ok(Some(outcome.with_missing(Missing::No)))
    }

    /// The id of the channel's only key: the answer that made it had none.
    async fn only_key(&mut self, known: &Known) -> Result<Option<String>, Stopped> {
        let channel = known.channel.id.channel.clone();
        match self.prepare_call(channel.as_str()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(Stopped::NoTime) => return Ok(None),
            Err(stopped) => return Err(stopped),
        }
        let ids = self.api().key_ids(&channel).await;
        let ids = self.answer_to(channel.as_str(), ids);
        Ok(ids.ok().and_then(|ids| match ids.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        }))
    }
}

impl Provision {
    /// Whether keys can be sealed now: without that no key is made, since 360dialog shows it once.
    pub(crate) async fn can_seal(&self, id: &ChannelRef) -> bool {
        let probe = Secret::new("probe");
        match self.seal.seal(id, &probe).await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, partner = %id.partner, channel = %id.channel, "no key can be sealed, so none is made");
                false
            }
        }
    }

    /// Seals a key and writes it with the verdict that it is stored, and the intent that stays open.
    async fn seal_and_write(
        &self,
        known: &mut Known,
        key: &ChannelKey,
        open: Option<&Intent>,
    ) -> Result<Kept, Error> {
        let Ok(sealed) = self.seal_patiently(&known.channel.id, key).await else {
            return Ok(Kept::NotSealed);
        };
        let fact = known.verdict_fact(KeyState::stored(key.key_id.clone()), &token::fresh());
        let verdict = LastWrite {
            value: KeyState::stored(key.key_id.clone()),
            at: fact.received_at,
            fact: fact.id.clone(),
        };
        let stored = StoredKey {
            sealed,
            key_id: key.key_id.clone(),
            address: key.address.clone(),
            stored_at: clock::now(),
        };
        let written = self.mints.keep(&known.mint, &stored, &verdict, open);
        if written.await? == Write::Conflict {
            return Ok(Kept::LeaseLost);
        }
        known.mint.stored = Some(stored);
        known.mint.verdict = Some(verdict);
        Ok(Kept::Done)
    }

    async fn seal_patiently(
        &self,
        id: &ChannelRef,
        key: &ChannelKey,
    ) -> Result<Vec<u8>, SealError> {
        let (text, until, mut pause) = (key.to_json(), Instant::now() + PATIENCE, FIRST_PAUSE);
        loop {
            match self.seal.seal(id, &text).await {
                Err(error) if Instant::now() + pause < until => {
                    tracing::warn!(%error, partner = %id.partner, channel = %id.channel, "a new key is not sealed yet");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                Err(error) => {
                    tracing::error!(%error, partner = %id.partner, channel = %id.channel, "a new key could not be sealed: another one is made later");
                    return Err(error);
                }
                sealed => return sealed,
            }
        }
    }
}

/// The outcome while no key can be sealed.
pub(crate) fn not_sealed(intent: Option<Intent>) -> Outcome {
    Outcome::waiting(KeyReason::VaultUnavailable, RetryAt::Later(None), intent)
}
