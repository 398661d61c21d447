//! The partner's own secret: read from its source, cached for five minutes, and read again when a signature does not
//! match.

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

/// How long a secret is cached.
const CACHE_TIME: Duration = Duration::from_secs(300);

/// The shortest time between two reads that a wrong signature causes.
const REREAD_AFTER: Duration = Duration::from_secs(10);

/// The partner secret cannot be read or used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretUnavailable {
    /// It does not exist.
    #[error("there is no secret for this partner")]
    Missing,
    /// The source did not answer.
    #[error("the partner secret could not be read: {0}")]
    Unreachable(String),
    /// It exists, but not in the documented form.
    #[error("the partner secret is malformed: {0}")]
    Malformed(#[from] SecretError),
}

/// A source of partner secrets: Secrets Manager, or a file on one machine.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The JSON of a partner's secret.
    async fn read(&self, partner: &PartnerId) -> Result<Secret, SecretUnavailable>;
}

/// The part of the partner secret that one kind of function needs.
pub trait PartnerSecret: Send + Sync + Sized {
    /// Parses the secret's JSON; fields that the function does not need are ignored.
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

struct Cached<T> {
    secret: Arc<T>,
    read_at: Instant,
    /// When a wrong signature last caused a read.
    tried_at: Instant,
}

type Slot<T> = Arc<Mutex<Option<Cached<T>>>>;

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
    /// The secrets of `source`.
    pub fn new(source: Arc<dyn SecretSource>) -> Self {
        Self {
            source,
            slots: Arc::default(),
        }
    }

    /// A partner's secret. It is read at most once in five minutes, however many callers there are.
    pub async fn get(&self, partner: &PartnerId) -> Result<Arc<T>, SecretUnavailable> {
        let slot = self.slot(partner).await;
        // A caller that comes during a read waits for that read instead of making another.
        let mut slot = slot.lock().await;
        match &*slot {
            Some(cached) if cached.read_at.elapsed() < CACHE_TIME => Ok(cached.secret.clone()),
            _ => self.read(partner, &mut slot).await,
        }
    }

    /// A partner's secret after a signature did not match. It is read again, but at most every ten seconds. If it
    /// cannot be read, the cached one is used.
    pub async fn reread(&self, partner: &PartnerId) -> Result<Arc<T>, SecretUnavailable> {
        let slot = self.slot(partner).await;
        let mut slot = slot.lock().await;
        let Some(cached) = slot.as_mut() else {
            return self.read(partner, &mut slot).await;
        };
        let cached_secret = cached.secret.clone();
        if cached.tried_at.elapsed() < REREAD_AFTER {
            return Ok(cached_secret);
        }
        cached.tried_at = Instant::now();
        match self.read(partner, &mut slot).await {
            Ok(secret) => Ok(secret),
            Err(error) => {
                tracing::error!(%error, %partner, "the partner secret could not be read again");
                Ok(cached_secret)
            }
        }
    }

    /// Reads the secrets of all `partners` before the first request needs them. A secret that cannot be read now is
    /// read when it is needed.
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
        slot: &mut Option<Cached<T>>,
    ) -> Result<Arc<T>, SecretUnavailable> {
        let json = self.source.read(partner).await?;
        let secret = Arc::new(T::parse(json.expose())?);
        let now = Instant::now();
        *slot = Some(Cached {
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
    async fn concurrent_callers_cause_one_read() {
        let (source, secrets, partner) = counting();
        let (a, b) = tokio::join!(secrets.get(&partner), secrets.get(&partner));
        assert_eq!((a.is_ok(), b.is_ok()), (true, true));
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_read_again_after_five_minutes_or_on_demand_after_ten_seconds() {
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
        assert_eq!(source.0.load(Ordering::SeqCst), 1, "get uses the cache");
        secrets.reread(&partner).await.unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
        tokio::time::advance(CACHE_TIME).await;
        secrets.get(&partner).await.unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cached_secret_stays_if_it_cannot_be_read_again_and_reads_are_ten_seconds_apart() {
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
        assert_eq!(
            source.0.load(Ordering::SeqCst),
            5,
            "one read in ten seconds"
        );
        tokio::time::advance(CACHE_TIME).await;
        assert!(
            secrets.get(&partner).await.is_err(),
            "five minutes are over"
        );
    }
}
