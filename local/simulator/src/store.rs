//! Keeps the records in memory and, if a file is given, in that file. A change is applied as a whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tempfile::NamedTempFile;

use crate::state::Records;

tokio::task_local! {
    static REHEARSAL: ();
}

/// Runs a call of which only the answer is wanted: nothing that it changes is kept, and it starts no task.
pub(crate) async fn rehearse<F: Future>(call: F) -> F::Output {
    REHEARSAL.scope((), call).await
}

pub(crate) fn is_rehearsal() -> bool {
    REHEARSAL.try_with(|()| ()).is_ok()
}

/// The state file could not be written; the records are unchanged.
#[derive(Debug, thiserror::Error)]
#[error("the state file could not be written: {0}")]
pub(crate) struct SaveError(#[from] io::Error);

pub(crate) struct Store {
    file: Option<PathBuf>,
    records: Mutex<Records>,
}

impl Store {
    /// Reads the file; without one the records are empty.
    pub(crate) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let records = match &file {
            Some(path) => load(path)?,
            None => Records::default(),
        };
        Ok(Self {
            file,
            records: Mutex::new(records),
        })
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Records) -> T) -> T {
        read(&self.lock())
    }

    /// Applies a change and returns once it is durable; an error leaves the records unchanged.
    pub(crate) fn change<T, E: From<SaveError>>(
        &self,
        change: impl FnOnce(&mut Records) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut records = self.lock();
        let mut next = records.clone();
        let answer = change(&mut next)?;
        if is_rehearsal() {
            return Ok(answer);
        }
        next.remember(Timestamp::now());
        if let Some(path) = &self.file {
            save(path, &next).map_err(SaveError)?;
        }
        *records = next;
        Ok(answer)
    }

    /// Ignores poisoning: records are replaced as a whole, so a panic in a change leaves them consistent.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path) -> io::Result<Records> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Records::default()),
        Err(error) => Err(error),
    }
}

fn save(path: &Path, records: &Records) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A temporary file is created with mode 0600.
    let mut file = NamedTempFile::new_in(folder)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    serde_json::to_writer(&mut writer, records)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename is durable once the folder is synced.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn use_second(store: &Store, second: i64) {
        store
            .change(|records| {
                records.account_mut("aAbBcCPA").used_seconds.insert(second);
                Ok::<_, SaveError>(())
            })
            .unwrap();
    }

    fn used_seconds(store: &Store) -> usize {
        store.read(|records| {
            records
                .account("aAbBcCPA")
                .map_or(0, |account| account.used_seconds.len())
        })
    }

    #[test]
    fn changes_survive_a_restart_in_a_file_that_only_its_owner_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.json");
        let store = Store::open(Some(path.clone())).unwrap();
        use_second(&store, 1);
        use_second(&store, 2);
        assert_eq!(used_seconds(&Store::open(Some(path.clone())).unwrap()), 2);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_change_that_fails_or_cannot_be_saved_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone").join("hub.json");
        let store = Store::open(Some(path)).unwrap();
        let saved = store.change(|records| {
            records.account_mut("aAbBcCPA").used_seconds.insert(1);
            Ok::<_, SaveError>(())
        });
        assert!(saved.is_err());
        assert_eq!(used_seconds(&store), 0);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.json");
        fs::write(&path, "{").unwrap();
        assert!(Store::open(Some(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    }
}
