//! The key vault in a file, with the version labels of Secrets Manager: `AWSCURRENT`, `AWSPREVIOUS`, `ATTEMPT`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use dialog360::secret::Secret;
use runtime::vault::{ChannelKey, KeyVault, Moved, VaultError, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::data::replace_private;

/// One secret: its versions, and the version of each label.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Entry {
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<String>,
    versions: BTreeMap<String, String>,
}

type Entries = BTreeMap<String, Entry>;

/// A file of keys, for development only.
pub struct FileVault {
    path: PathBuf,
    lock: Mutex<()>,
}

impl FileVault {
    /// The vault in the file `path`, which may not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            lock: Mutex::new(()),
        }
    }

    /// The text of a secret's current version, if there is one.
    pub async fn read(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        let _guard = self.lock.lock().await;
        let entries = self.entries()?;
        let Some(entry) = entries.get(name) else {
            return Ok(None);
        };
        Ok(entry.versions.get(&entry.current).map(Secret::new))
    }

    fn entries(&self) -> Result<Entries, VaultError> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| VaultError::Malformed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entries::new()),
            Err(error) => Err(VaultError::Unavailable(error.kind().to_string())),
        }
    }

    fn write(&self, entries: &Entries) -> Result<(), VaultError> {
        let text = serde_json::to_vec_pretty(entries).map_err(|_| VaultError::Malformed)?;
        replace_private(&self.path, &text)
            .map_err(|error| VaultError::Unavailable(error.kind().to_string()))
    }
}

impl Entry {
    /// Removes versions without a label, as Secrets Manager does.
    fn forget_unlabelled(&mut self) {
        let labelled = [
            Some(&self.current),
            self.previous.as_ref(),
            self.attempt.as_ref(),
        ];
        let labelled: Vec<String> = labelled.into_iter().flatten().cloned().collect();
        self.versions.retain(|id, _| labelled.contains(id));
    }
}

#[async_trait]
impl KeyVault for FileVault {
    async fn current(&self, name: &str, token: &str) -> Result<Version, VaultError> {
        let _guard = self.lock.lock().await;
        let mut entries = self.entries()?;
        if let Some(entry) = entries.get(name) {
            let text = entry
                .versions
                .get(&entry.current)
                .ok_or(VaultError::Malformed)?;
            return Ok(Version {
                id: entry.current.clone(),
                key_id: ChannelKey::key_id_in(text)?,
            });
        }
        let versions = BTreeMap::from([(token.to_owned(), "{}".to_owned())]);
        entries.insert(
            name.to_owned(),
            Entry {
                current: token.to_owned(),
                versions,
                ..Entry::default()
            },
        );
        self.write(&entries)?;
        Ok(Version {
            id: token.to_owned(),
            key_id: None,
        })
    }

    async fn put_attempt(
        &self,
        name: &str,
        token: &str,
        key: &ChannelKey,
    ) -> Result<(), VaultError> {
        let _guard = self.lock.lock().await;
        let mut entries = self.entries()?;
        let entry = entries.get_mut(name).ok_or(VaultError::Malformed)?;
        let text = key.to_json();
        if entry
            .versions
            .get(token)
            .is_some_and(|kept| kept != text.expose())
        {
            return Err(VaultError::Malformed);
        }
        entry
            .versions
            .insert(token.to_owned(), text.expose().to_owned());
        entry.attempt = Some(token.to_owned());
        entry.forget_unlabelled();
        self.write(&entries)
    }

    async fn make_current(&self, name: &str, token: &str, from: &str) -> Result<Moved, VaultError> {
        let _guard = self.lock.lock().await;
        let mut entries = self.entries()?;
        let entry = entries.get_mut(name).ok_or(VaultError::Malformed)?;
        if entry.current == token {
            return Ok(Moved::Done);
        }
        if entry.current != from || !entry.versions.contains_key(token) {
            return Ok(Moved::Fenced);
        }
        entry.previous = Some(std::mem::replace(&mut entry.current, token.to_owned()));
        entry.forget_unlabelled();
        self.write(&entries)?;
        Ok(Moved::Done)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(api_key: &str, id: &str) -> ChannelKey {
        ChannelKey {
            api_key: Secret::new(api_key),
            key_id: Some(id.to_owned()),
            address: None,
            channel: "bCH".parse().unwrap(),
            client: "cCL".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn an_attempt_becomes_current_only_if_the_label_is_moved_from_the_version_that_was_read()
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vault.json");
        let vault = FileVault::at(&path);
        let seen = vault.current("n", "first").await.unwrap();
        assert_eq!(
            seen,
            Version {
                id: "first".into(),
                key_id: None
            }
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        vault
            .put_attempt("n", "a", &key("secret a", "1"))
            .await
            .unwrap();
        vault
            .put_attempt("n", "a", &key("secret a", "1"))
            .await
            .unwrap();
        assert_eq!(
            vault.current("n", "x").await.unwrap(),
            seen,
            "an attempt alone changes nothing"
        );
        assert_eq!(
            vault.make_current("n", "a", &seen.id).await.unwrap(),
            Moved::Done
        );
        assert_eq!(
            vault.make_current("n", "a", &seen.id).await.unwrap(),
            Moved::Done,
            "the same again"
        );

        vault
            .put_attempt("n", "late", &key("secret late", "2"))
            .await
            .unwrap();
        assert_eq!(
            vault.make_current("n", "late", &seen.id).await.unwrap(),
            Moved::Fenced
        );
        let current = FileVault::at(&path).current("n", "x").await.unwrap();
        assert_eq!(
            current,
            Version {
                id: "a".into(),
                key_id: Some("1".into())
            }
        );
        assert!(
            vault
                .read("n")
                .await
                .unwrap()
                .unwrap()
                .expose()
                .contains("secret a")
        );
        assert!(vault.read("other").await.unwrap().is_none());
    }
}
