//! The partner's own secret: read from where it is kept, cached for five minutes, read again when a signature
//! does not match.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dialog360::id::PartnerId;
use dialog360::secret::Secret;
use onboarding::secret::{PartnerAccess, SecretError, SigningSecrets};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::settings::PartnerIds;

/// How long a secret that was read is used.
const KEPT: Duration = Duration::from_secs(300);

/// How often at most it is read again because a signature did not match.
const REREAD_AFTER: Duration = Duration::from_secs(10);

/// The partner secret cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretUnavailable {
    /// It is not there.
    #[error("there is no secret for this partner")]
    Missing,
    /// The place where it is kept did not answer.
    #[error("the partner secret could not be read: {0}")]
    Unreachable(String),
    /// It is there and not in the documented form.
    #[error("the partner secret is malformed: {0}")]
    Malformed(#[from] SecretError),
}

/// Where partner secrets are kept: Secrets Manager, or a file on one machine.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The JSON of a partner's secret.
    async fn read(&self, partner: &PartnerId) -> Result<Secret, SecretUnavailable>;
}

/// The part of the partner secret that one kind of function needs.
pub trait PartnerSecret: Send + Sync + Sized {
    /// Reads it from the secret's JSON; fields it does not need are not looked at.
    fn parse(json: &str) -> Result<Self, SecretError>;
}

impl PartnerSecret for SigningSecrets {
    fn parse(json: &str) -> Result<Self, SecretError> {
        Self::parse(json)
    }
}

impl PartnerSecret for PartnerAccess {
    fn parse(json: &str) -> Result<Self, SecretError> {
        Self::parse(json)
    }
}

struct Known<T> {
    secret: Arc<T>,
    read_at: Instant,
    /// When it was last tried to read it again because a signature did not match.
    tried_at: Instant,
}

type Slot<T> = Arc<Mutex<Option<Known<T>>>>;

/// The partner secrets as one kind of function needs them.
pub struct PartnerSecrets<T> {
    source: Arc<dyn SecretSource>,
    slots: Arc<Mutex<HashMap<PartnerId, Slot<T>>>>,
}

impl<T> Clone for PartnerSecrets<T> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            slots: self.slots.clone(),
        }
    }
}

impl<T: PartnerSecret> PartnerSecrets<T> {
    /// The secrets kept at `source`.
    pub fn new(source: Arc<dyn SecretSource>) -> Self {
        Self {
            source,
            slots: Arc::default(),
        }
    }

    /// A partner's secret, read at most once every five minutes however many ask.
    pub async fn get(&self, partner: &PartnerId) -> Result<Arc<T>, SecretUnavailable> {
        let slot = self.slot(partner).await;
        // Whoever comes while it is read waits for that read instead of making another.
        let mut slot = slot.lock().await;
        match &*slot {
            Some(known) if known.read_at.elapsed() < KEPT => Ok(known.secret.clone()),
            _ => self.read(partner, &mut slot).await,
        }
    }

    /// A partner's secret after a signature did not match: read again, but not within ten seconds of the last try. If
    /// it cannot be read, the one that is known stands.
    pub async fn reread(&self, partner: &PartnerId) -> Result<Arc<T>, SecretUnavailable> {
        let slot = self.slot(partner).await;
        let mut slot = slot.lock().await;
        let Some(known) = slot.as_mut() else {
            return self.read(partner, &mut slot).await;
        };
        let known_secret = known.secret.clone();
        if known.tried_at.elapsed() < REREAD_AFTER {
            return Ok(known_secret);
        }
        known.tried_at = Instant::now();
        match self.read(partner, &mut slot).await {
            Ok(secret) => Ok(secret),
            Err(error) => {
                tracing::error!(%error, %partner, "the partner secret could not be read again");
                Ok(known_secret)
            }
        }
    }

    /// Reads the secrets of all `partners` before the first request needs them; one that cannot be read now is tried
    /// again when it is needed.
    pub async fn warm_up(&self, partners: &PartnerIds)
    where
        T: 'static,
    {
        let mut reads = JoinSet::new();
        for partner in partners.iter() {
            let (secrets, partner) = (self.clone(), partner.clone());
            reads.spawn(async move {
                if let Err(error) = secrets.get(&partner).await {
                    tracing::error!(%error, %partner, "the partner secret failed");
                }
            });
        }
        reads.join_all().await;
    }

    async fn slot(&self, partner: &PartnerId) -> Slot<T> {
        self.slots
            .lock()
            .await
            .entry(partner.clone())
            .or_default()
            .clone()
    }

    async fn read(
        &self,
        partner: &PartnerId,
        slot: &mut Option<Known<T>>,
    ) -> Result<Arc<T>, SecretUnavailable> {
        let json = self.source.read(partner).await?;
        let secret = Arc::new(T::parse(json.expose())?);
        let now = Instant::now();
        *slot = Some(Known {
            secret: secret.clone(),
            read_at: now,
            tried_at: now,
        });
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Fails from the fifth read on.
    struct Counting(AtomicU32);

    #[async_trait]
    impl SecretSource for Counting {
        async fn read(&self, _: &PartnerId) -> Result<Secret, SecretUnavailable> {
            let reads = self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if reads >= 4 {
                return Err(SecretUnavailable::Missing);
            }
            Ok(Secret::new(format!(
                "{{\"platform_secret\":\"number {reads}\"}}"
            )))
        }
    }

    fn counting() -> (Arc<Counting>, PartnerSecrets<SigningSecrets>, PartnerId) {
        let source = Arc::new(Counting(AtomicU32::new(0)));
        (
            source.clone(),
            PartnerSecrets::new(source),
            "xPA".parse().unwrap(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cause_one_read() {
        let (source, secrets, partner) = counting();
        let (a, b) = tokio::join!(secrets.get(&partner), secrets.get(&partner));
        assert_eq!((a.is_ok(), b.is_ok()), (true, true));
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_again_after_five_minutes_or_on_demand_after_ten_seconds() {
        let (source, secrets, partner) = counting();
        secrets.get(&partner).await.unwrap();
        secrets.reread(&partner).await.unwrap();
        assert_eq!(
            source.0.load(Ordering::SeqCst),
            1,
            "ten seconds are not over"
        );
        tokio::time::advance(REREAD_AFTER).await;
        secrets.get(&partner).await.unwrap();
        assert_eq!(
            source.0.load(Ordering::SeqCst),
            1,
            "nobody asked for a fresh one"
        );
        secrets.reread(&partner).await.unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
        tokio::time::advance(KEPT).await;
        secrets.get(&partner).await.unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_cannot_be_read_again_stands_and_is_not_asked_for_all_the_time() {
        let (source, secrets, partner) = counting();
        secrets.get(&partner).await.unwrap();
        source.0.store(4, Ordering::SeqCst);
        tokio::time::advance(REREAD_AFTER).await;
        for _ in 0..3 {
            assert_eq!(
                secrets.reread(&partner).await.unwrap().current().expose(),
                "number 0"
            );
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 5, "one try in ten seconds");
        tokio::time::advance(KEPT).await;
        assert!(
            secrets.get(&partner).await.is_err(),
            "five minutes are over"
        );
    }
}
