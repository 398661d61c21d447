//! The data directory: the names of its files. Only the owner may read them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// The mode of files that only the owner may read and write.
const PRIVATE: u32 = 0o600;

/// The version of the data: of the items in the table, and of the files. Data is never migrated.
const LAYOUT: &str = "4";

/// The directory `DATA`.
#[derive(Clone, Debug)]
pub struct Data(PathBuf);

impl Data {
    /// Opens the directory `path`, and creates it if it does not exist.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        Ok(Self(path))
    }

    /// The directory `path`, whether or not it exists.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Locks the directory until the returned file is closed; a process that is killed leaves no lock behind.
    ///
    /// Only a running bundle takes the lock. Other programs reach its table through the `endpoint` file.
    pub fn lock(&self) -> io::Result<File> {
        let file = open_private(&self.0.join("lock"))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other(
                "another bundle uses it; stop that one, or set DATA to another directory",
            ),
            TryLockError::Error(why) => why,
        })?;
        Ok(file)
    }

    /// Checks that this version can read the data. In a directory without a database it writes the version down.
    pub fn check_layout(&self) -> io::Result<()> {
        let file = self.0.join("layout");
        if !self.database().exists() {
            return replace_private(&file, LAYOUT.as_bytes());
        }
        if fs::read_to_string(&file).is_ok_and(|layout| layout == LAYOUT) {
            return Ok(());
        }
        Err(io::Error::other(
            "another version of the bundle made it, and data is not migrated; remove it, or set DATA to another directory",
        ))
    }

    /// `onboarding.db`, the embedded DynamoDB.
    pub fn database(&self) -> PathBuf {
        self.0.join("onboarding.db")
    }

    /// `encryption.key`, with which the API keys in the database are sealed.
    pub fn encryption_key(&self) -> PathBuf {
        self.0.join("encryption.key")
    }

    /// `events.ndjson`, the events for the partner's application.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.ndjson")
    }

    /// `hub.json`, the state of the simulator.
    pub fn simulator_state(&self) -> PathBuf {
        self.0.join("hub.json")
    }

    /// `secrets.json`, made by the demo when no `SECRETS_FILE` is given.
    pub fn demo_secrets(&self) -> PathBuf {
        self.0.join("secrets.json")
    }

    /// `endpoint`, the address of the embedded DynamoDB while the bundle runs.
    pub fn endpoint(&self) -> PathBuf {
        self.0.join("endpoint")
    }
}

/// Replaces a file as a whole and durably. Only its owner may read it.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

/// Creates an empty file that only its owner may read, unless it exists.
pub fn touch_private(path: &Path) -> io::Result<()> {
    open_private(path).map(drop)
}

/// Appends to a file that only its owner may read.
pub fn append_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(PRIVATE)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    file.write_all(content)?;
    file.sync_all()
}

fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bundle_uses_a_data_directory_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::open(directory.path()).unwrap();
        let lock = data.lock().unwrap();
        assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            Data::open(directory.path())
                .unwrap()
                .lock()
                .unwrap_err()
                .to_string()
                .contains("another bundle")
        );
        drop(lock);
        assert!(data.lock().is_ok());
    }

    #[test]
    fn data_of_another_layout_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = Data::open(directory.path()).unwrap();
        data.check_layout().unwrap();
        fs::write(data.database(), "").unwrap();
        data.check_layout().unwrap();
        for older in [Some("1"), None] {
            match older {
                Some(layout) => fs::write(directory.path().join("layout"), layout).unwrap(),
                None => fs::remove_file(directory.path().join("layout")).unwrap(),
            }
            let why = data.check_layout().unwrap_err().to_string();
            assert!(why.contains("set DATA to another directory"), "{why}");
        }
    }
}
