//! Tests of the key file.

use std::os::unix::fs::PermissionsExt;

use dialog360::id::ChannelRef;
use store::table::Table;

use super::*;
use crate::database::Embedded;

struct Place {
    directory: tempfile::TempDir,
    _embedded: Embedded,
    table: Table,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(&directory.path().join("db")).await.unwrap();
        let table = runtime::aws::local::table(embedded.endpoint(), "table");
        table.create().await.unwrap();
        Self {
            directory,
            _embedded: embedded,
            table,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("encryption.key")
    }

    fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::new(self.table.clone())
    }

    async fn open(&self) -> Result<KeyFile, KeyFileError> {
        KeyFile::open_or_make(self.path(), &self.fingerprint()).await
    }
}

fn channel(id: &str) -> ChannelRef {
    ChannelRef::new("aPA".parse().unwrap(), id.parse().unwrap())
}

#[tokio::test]
async fn what_is_sealed_opens_for_its_own_channel_and_nothing_else_opens() {
    let place = Place::new().await;
    let file = place.open().await.unwrap();
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (own, text) = (channel("bCH"), Secret::new("needle"));
    let sealed = file.seal(&own, &text).await.unwrap();
    assert!(!sealed.windows(6).any(|part| part == b"needle"));
    assert_eq!(file.open(&own, &sealed).await.unwrap().expose(), "needle");
    assert_ne!(
        file.seal(&own, &text).await.unwrap(),
        sealed,
        "another nonce"
    );
    assert!(file.open(&channel("cCH"), &sealed).await.is_err());
    for index in [0, 9, 21, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(file.open(&own, &changed).await.is_err(), "byte {index}");
    }
    for end in [0, 7, 19, 30] {
        assert!(
            file.open(&own, &sealed[..end]).await.is_err(),
            "{end} bytes"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_lost_or_another_one_is_never_made_anew() {
    let place = Place::new().await;
    let first = place.open().await.unwrap();
    assert!(place.open().await.is_ok(), "it is there");
    let kept = fs::read(place.path()).unwrap();
    fs::remove_file(place.path()).unwrap();
    let lost = place.open().await.unwrap_err();
    assert!(matches!(lost, KeyFileError::Other(_)), "{lost}");
    assert!(!place.path().exists());
    let other = new_key().unwrap();
    first.write(&[other]).unwrap();
    let other = place.open().await.unwrap_err();
    assert!(matches!(other, KeyFileError::Other(_)), "{other}");
    // Nor does a new key in it make it the right one.
    let added = first.add_key(&place.fingerprint()).await.unwrap_err();
    assert!(matches!(added, KeyFileError::Other(_)), "{added}");
    fs::write(place.path(), "no key").unwrap();
    let malformed = place.open().await.unwrap_err();
    assert!(
        matches!(malformed, KeyFileError::Malformed(_)),
        "{malformed}"
    );
    assert!(!malformed.to_string().contains("no key"));
    fs::write(place.path(), kept).unwrap();
    assert!(place.open().await.is_ok());
}

#[tokio::test]
async fn a_file_whose_fingerprint_was_not_noted_yet_is_used() {
    let place = Place::new().await;
    let file = KeyFile::at(place.path());
    file.write(&[new_key().unwrap()]).unwrap();
    let made = fs::read(place.path()).unwrap();
    place.open().await.unwrap();
    assert_eq!(fs::read(place.path()).unwrap(), made);
    assert!(place.fingerprint().read().await.unwrap().is_some());
}

#[tokio::test]
async fn a_new_key_seals_and_the_older_ones_still_open() {
    let place = Place::new().await;
    let file = place.open().await.unwrap();
    let (id, text) = (channel("bCH"), Secret::new("needle"));
    let before = file.seal(&id, &text).await.unwrap();
    file.add_key(&place.fingerprint()).await.unwrap();
    let after = file.seal(&id, &text).await.unwrap();
    assert_ne!(before[..FINGERPRINT], after[..FINGERPRINT]);
    let file = place.open().await.unwrap();
    for sealed in [before, after] {
        assert_eq!(file.open(&id, &sealed).await.unwrap().expose(), "needle");
    }
}
