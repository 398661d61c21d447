//! Sealing with KMS: the key never leaves it, and its policy says who may open.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use dialog360::id::ChannelRef;
use dialog360::secret::Secret;
use store::sdk_error::code;

use crate::seal::{KeySeal, SealError, context};

/// A KMS key. What former ones sealed can be opened too, if the credentials allow it: a sealed text names its key.
pub struct KmsSeal {
    client: Client,
    key: String,
}

impl KmsSeal {
    /// Seals with `key`: an id, an ARN or an alias.
    pub fn new(client: Client, key: impl Into<String>) -> Self {
        let key = key.into();
        Self { client, key }
    }
}

#[async_trait]
impl KeySeal for KmsSeal {
    async fn seal(&self, channel: &ChannelRef, text: &Secret) -> Result<Vec<u8>, SealError> {
        let encrypt = self.client.encrypt().key_id(&self.key);
        let encrypt = encrypt.set_encryption_context(Some(owned_context(channel)));
        let sealed = encrypt.plaintext(Blob::new(text.expose())).send().await;
        let sealed = sealed.map_err(|error| SealError::Unavailable(code(&error).to_owned()))?;
        let sealed = sealed.ciphertext_blob.ok_or(SealError::Malformed)?;
        Ok(sealed.into_inner())
    }

    async fn open(&self, channel: &ChannelRef, sealed: &[u8]) -> Result<Secret, SealError> {
        let decrypt = self.client.decrypt().ciphertext_blob(Blob::new(sealed));
        let decrypt = decrypt.set_encryption_context(Some(owned_context(channel)));
        let opened = decrypt.send().await.map_err(|error| match error.code() {
            Some("InvalidCiphertextException" | "IncorrectKeyException") => SealError::Malformed,
            _ => SealError::Unavailable(code(&error).to_owned()),
        })?;
        let text = opened.plaintext.ok_or(SealError::Malformed)?.into_inner();
        let text = String::from_utf8(text).map_err(|_| SealError::Malformed)?;
        Ok(Secret::new(text))
    }
}

fn owned_context(channel: &ChannelRef) -> HashMap<String, String> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    context(channel).into_iter().map(owned).collect()
}
