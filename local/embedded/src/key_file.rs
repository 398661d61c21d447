//! The file of the keys that seal API keys on one machine: AES-256-GCM, a line for each key, the newest first.
//!
//! Without the file every API key is lost, so it is made once, for a table in which nothing is sealed. The table holds
//! its fingerprint: a start with another file, or with none, is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use data_encoding::{BASE64, HEXLOWER};
use dialog360::id::ChannelRef;
use dialog360::secret::Secret;
use runtime::seal::{KeySeal, SealError, context};
use sha2::{Digest, Sha256};
use store::KeyFingerprint;

use crate::data::replace_private;

/// The length of a key, bytes.
const KEY: usize = 32;
/// The length of the fingerprint before the nonce of every sealed text, bytes.
const FINGERPRINT: usize = 8;

/// Why the key file cannot be used. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not the file that the table's keys were sealed with.
    #[error(
        "{0} is not the file that sealed the API keys in this data directory. Put that file back: without it no key can \
         be read, so the bundle makes no new one. If it is lost, use a new data directory (DATA)"
    )]
    Other(PathBuf),
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A line of it is not a key.
    #[error(
        "{0}: a line is not a key (32 bytes in base64). Put the file back as the bundle made it"
    )]
    Malformed(PathBuf),
    /// The table failed.
    #[error(transparent)]
    Table(#[from] store::Error),
}

/// The key file of a data directory.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// The file `path`, which is there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file `path`, made now if neither it nor a fingerprint of it exists.
    pub async fn open_or_make(
        path: impl Into<PathBuf>,
        fingerprint: &KeyFingerprint,
    ) -> Result<Self, KeyFileError> {
        let file = Self::at(path);
        let noted = fingerprint.read().await?;
        if noted.is_none() && !file.0.exists() {
            file.write(&[new_key().map_err(|why| KeyFileError::Io(file.0.clone(), why))?])?;
        }
        let keys = match file.keys() {
            Err(KeyFileError::Io(path, why)) if why.kind() == io::ErrorKind::NotFound => {
                return Err(KeyFileError::Other(path));
            }
            keys => keys?,
        };
        match noted {
            Some(noted) if keys.iter().any(|key| key.name() == noted) => {}
            Some(_) => return Err(KeyFileError::Other(file.0)),
            None => fingerprint.write(&file.newest(&keys)?.name()).await?,
        }
        Ok(file)
    }

    /// Puts a new key first; from now on it seals. The older ones still open what they sealed.
    pub async fn add_key(&self, fingerprint: &KeyFingerprint) -> Result<(), KeyFileError> {
        let (noted, before) = (fingerprint.read().await?, self.keys()?);
        if noted.is_some_and(|noted| before.iter().all(|key| key.name() != noted)) {
            return Err(KeyFileError::Other(self.0.clone()));
        }
        let new = new_key().map_err(|why| KeyFileError::Io(self.0.clone(), why))?;
        let name = new.name();
        let mut keys = vec![new];
        keys.extend(before);
        self.write(&keys)?;
        Ok(fingerprint.write(&name).await?)
    }

    fn write(&self, keys: &[Key]) -> Result<(), KeyFileError> {
        let line = |key: &Key| format!("{}\n", BASE64.encode(&key.0));
        let text: String = keys.iter().map(line).collect();
        replace_private(&self.0, text.as_bytes())
            .map_err(|why| KeyFileError::Io(self.0.clone(), why))
    }

    /// Its keys, read anew: another process may have added one.
    fn keys(&self) -> Result<Vec<Key>, KeyFileError> {
        let text = fs::read_to_string(&self.0);
        let text = text.map_err(|why| KeyFileError::Io(self.0.clone(), why))?;
        let malformed = || KeyFileError::Malformed(self.0.clone());
        let key = |line: &str| {
            let bytes = BASE64.decode(line.as_bytes()).ok()?;
            <[u8; KEY]>::try_from(bytes).ok().map(Key)
        };
        let keys: Option<Vec<Key>> = text.lines().map(key).collect();
        keys.filter(|keys| !keys.is_empty()).ok_or_else(malformed)
    }

    fn newest<'a>(&self, keys: &'a [Key]) -> Result<&'a Key, KeyFileError> {
        keys.first()
            .ok_or_else(|| KeyFileError::Malformed(self.0.clone()))
    }

    fn usable_keys(&self) -> Result<Vec<Key>, SealError> {
        self.keys().map_err(|why| {
            let path: &Path = &self.0;
            tracing::error!(%why, "the key file cannot be used");
            SealError::Unavailable(format!("the key file {} cannot be used", path.display()))
        })
    }
}

/// Its form: the fingerprint of the key, the nonce, the ciphertext with its tag.
#[async_trait]
impl KeySeal for KeyFile {
    async fn seal(&self, channel: &ChannelRef, text: &Secret) -> Result<Vec<u8>, SealError> {
        let keys = self.usable_keys()?;
        let key = keys.first().ok_or(SealError::Malformed)?;
        let mut ciphertext = text.expose().as_bytes().to_vec();
        let cipher = key.cipher()?;
        let nonce = cipher.seal_in_place_append_tag(bound_to(channel), &mut ciphertext);
        let nonce = nonce.map_err(|_| SealError::Malformed)?;
        let mut sealed = key.fingerprint().to_vec();
        sealed.extend(nonce.as_ref());
        sealed.extend(ciphertext);
        Ok(sealed)
    }

    async fn open(&self, channel: &ChannelRef, sealed: &[u8]) -> Result<Secret, SealError> {
        let malformed = || SealError::Malformed;
        let (fingerprint, rest) = sealed
            .split_first_chunk::<FINGERPRINT>()
            .ok_or_else(malformed)?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(malformed)?;
        let keys = self.usable_keys()?;
        let key = keys.iter().find(|key| key.fingerprint() == *fingerprint);
        let cipher = key.ok_or_else(malformed)?.cipher()?;
        let mut text = ciphertext.to_vec();
        let nonce = Nonce::from(nonce);
        let text = cipher.open_in_place(nonce, bound_to(channel), &mut text);
        let text = text.map_err(|_| SealError::Malformed)?;
        let text = std::str::from_utf8(text).map_err(|_| SealError::Malformed)?;
        Ok(Secret::new(text))
    }
}

struct Key([u8; KEY]);

impl Key {
    fn cipher(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).map_err(|_| SealError::Malformed)
    }

    fn fingerprint(&self) -> [u8; FINGERPRINT] {
        let hash = Sha256::new_with_prefix("whatsapp-onboarding key file")
            .chain_update(self.0)
            .finalize();
        let mut fingerprint = [0; FINGERPRINT];
        for (to, from) in fingerprint.iter_mut().zip(hash) {
            *to = from;
        }
        fingerprint
    }

    /// The fingerprint, as the table holds it.
    fn name(&self) -> String {
        HEXLOWER.encode(&self.fingerprint())
    }
}

fn new_key() -> io::Result<Key> {
    let mut key = [0; KEY];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(Key(key))
}

/// The ids that are authenticated beside the ciphertext: a sealed text that is moved to another channel does not open.
fn bound_to(channel: &ChannelRef) -> Aad<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in context(channel) {
        for part in [name, value] {
            bytes.extend(part.as_bytes());
            bytes.push(0); // no id has it
        }
    }
    Aad::from(bytes)
}

#[cfg(test)]
#[path = "key_file_tests.rs"]
mod tests;
