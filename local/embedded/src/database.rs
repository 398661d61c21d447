//! The embedded DynamoDB: a SQLite file, served at a loopback address.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynoxide::Database;
use runtime::aws;
use store::table::{StoreError, Table};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::data::{Data, replace_private, touch_private};

/// The number that the embedded DynamoDB adds to the sequence numbers in its file, so that they have 21 digits.
const FIRST_SEQUENCE_NUMBER: u128 = 100_000_000_000_000_000_000;

/// How many records of a stream are removed in one transaction: no request waits long behind it.
const RECORDS_AT_ONCE: usize = 500;

/// How long the removal waits for a request that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often expired items are removed.
const SWEEP: Duration = Duration::from_secs(600);

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The file cannot be opened.
    #[error("the database {path} cannot be opened: {why}")]
    Open {
        /// The file.
        path: String,
        /// The database's error.
        why: String,
    },
    /// It could not listen, or a file could not be written.
    #[error("the embedded database: {0}")]
    Io(#[from] io::Error),
    /// The table could not be created.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Records of a stream could not be removed.
    #[error("records of the stream could not be removed: {0}")]
    Records(#[from] rusqlite::Error),
}

/// An embedded DynamoDB that answers until it is dropped.
pub struct Embedded {
    path: PathBuf,
    endpoint: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file `database` and serves it at a free port of the loopback address.
    pub async fn open(database: &Path) -> Result<Self, EmbeddedError> {
        touch_private(database)?;
        let file = database.to_owned();
        let path = database.to_string_lossy().into_owned();
        let opened = Database::new(&path);
        let database = opened.map_err(|why| EmbeddedError::Open {
            path,
            why: why.to_string(),
        })?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let sweeper = tokio::spawn(sweep(database.clone()));
        let server = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Self {
            path: file,
            endpoint,
            tasks: vec![server, sweeper],
        })
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Removes the records of a table's stream whose sequence number is less than `before`. DynamoDB does that after a
    /// day; the embedded one never does, and reads all of them at every look.
    pub async fn remove_stream_records(
        &self,
        table: &str,
        before: u128,
    ) -> Result<(), EmbeddedError> {
        let before = before.saturating_sub(FIRST_SEQUENCE_NUMBER);
        let before = i64::try_from(before).unwrap_or(0);
        let (path, table) = (self.path.clone(), table.to_owned());
        let removed = tokio::task::spawn_blocking(move || remove_records(&path, &table, before));
        Ok(removed.await.map_err(io::Error::other)??)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn remove_records(path: &Path, table: &str, before: i64) -> Result<(), rusqlite::Error> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let handled = "DELETE FROM _stream_records WHERE id IN (SELECT id FROM _stream_records \
                   WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) < ?2 LIMIT ?3)";
    while connection.execute(handled, (table, before, RECORDS_AT_ONCE))? > 0 {}
    Ok(())
}

async fn sweep(database: Database) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let database = database.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            tracing::warn!(%error, "expired items could not be removed");
        }
    }
}

/// The table of a data directory, served by the running bundle if there is one, else by this process.
pub struct Opened {
    /// The table.
    pub table: Table,
    /// The database that this process serves, if no bundle runs.
    pub embedded: Option<Embedded>,
}

/// Opens the table `name` of a data directory, whether or not a bundle runs.
pub async fn open_table(data: &Data, name: &str) -> Result<Opened, EmbeddedError> {
    if let Ok(endpoint) = std::fs::read_to_string(data.endpoint()) {
        let address = endpoint.trim().trim_start_matches("http://").to_owned();
        if tokio::net::TcpStream::connect(&address).await.is_ok() {
            return Ok(Opened {
                table: aws::local::table(endpoint.trim(), name),
                embedded: None,
            });
        }
    }
    let path = data.database();
    if !path.exists() {
        let why = "it does not exist; start the bundle once, or set DATA".to_owned();
        return Err(EmbeddedError::Open {
            path: path.to_string_lossy().into_owned(),
            why,
        });
    }
    data.check_layout().map_err(|why| EmbeddedError::Open {
        path: data.path().to_string_lossy().into_owned(),
        why: why.to_string(),
    })?;
    let embedded = Embedded::open(&path).await?;
    let table = aws::local::table(embedded.endpoint(), name);
    Ok(Opened {
        table,
        embedded: Some(embedded),
    })
}

/// Writes the embedded DynamoDB's address into the file `endpoint`.
pub fn write_endpoint(data: &Data, embedded: &Embedded) -> io::Result<()> {
    replace_private(&data.endpoint(), embedded.endpoint().as_bytes())
}
