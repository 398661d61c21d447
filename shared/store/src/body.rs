//! Bodies of events that are too large, or too private, for the table: compressed and in parts, in a second table that
//! has no stream and no recovery. They expire after 14 days.

use std::io::{self, Read, Write as _};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use dialog360::event::EventId;
use dialog360::id::PartnerId;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::{as_text, keyed_alone, number, number_of, text};
use crate::table::{self, EXPIRES_AT, Item, StoreError, Table};

/// How long a body is kept.
const KEEP_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How many bytes of a body one part holds. What cannot be compressed grows by less than 0.1 %, so a part stays below
/// 300 KB; an item may have 400.
const PART: usize = 256 * 1024;

/// How many parts are written or read at the same time.
const AT_ONCE: usize = 4;

/// The attribute that holds a part: a gzip member, so that all parts in a row are one gzip file.
const DATA: &str = "data";
/// The number of parts.
const PARTS: &str = "parts";
/// The SHA-256 of the whole body.
const SHA256: &str = "sha256";

/// May write and read large bodies.
#[derive(Clone)]
pub struct Bodies(Table);

impl Bodies {
    /// The bodies of `table`, which is not the table of the other items.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Writes the body of the event `id`, over what an attempt that was cut off has left. Returns the number of parts.
    pub async fn put(
        &self,
        partner: &PartnerId,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let expires_at = now.saturating_add(KEEP_FOR).unwrap_or(now).as_second();
        let parts = body.chunks(PART).len();
        let hash = EventId::hash(body);
        let mut writes = JoinSet::new();
        for (index, part) in body.chunks(PART).enumerate() {
            let mut item = keyed_alone(table::body(partner, id, index));
            item.insert(
                DATA.to_owned(),
                AttributeValue::B(Blob::new(compress(part)?)),
            );
            item.insert(PARTS.to_owned(), number(parts));
            item.insert(SHA256.to_owned(), text(hash.as_str()));
            item.insert(EXPIRES_AT.to_owned(), number(expires_at));
            if writes.len() >= AT_ONCE {
                finished(writes.join_next().await)?;
            }
            let table = self.0.clone();
            writes.spawn(async move { table.put(item).await });
        }
        while let Some(written) = writes.join_next().await {
            finished(Some(written))?;
        }
        Ok(parts)
    }

    /// Reads the body of an event; `None` if it has expired, or was never written whole.
    pub async fn read(
        &self,
        partner: &PartnerId,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(first) = self.part(partner, id, 0, now).await? else {
            return Ok(None);
        };
        let mut compressed = first.data;
        for index in 1..first.parts {
            match self.part(partner, id, index, now).await? {
                Some(part) => compressed.extend_from_slice(&part.data),
                None => return Ok(None),
            }
        }
        let mut body = Vec::new();
        let read = MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut body);
        let is_whole = read.is_ok() && EventId::hash(&body).as_str() == first.sha256;
        is_whole
            .then_some(Some(body))
            .ok_or(StoreError::Malformed("a large body"))
    }

    /// One part; `None` if it is not there, or has expired.
    async fn part(
        &self,
        partner: &PartnerId,
        id: &str,
        index: usize,
        now: Timestamp,
    ) -> Result<Option<Part>, StoreError> {
        let item = self.0.read_alone(table::body(partner, id, index)).await?;
        let is_kept =
            |item: &Item| number_of(item, EXPIRES_AT).is_some_and(|at| at > now.as_second());
        let Some(item) = item.filter(is_kept) else {
            return Ok(None);
        };
        let parts = number_of(&item, PARTS).and_then(|parts| usize::try_from(parts).ok());
        let data = item.get(DATA).and_then(|data| data.as_b().ok());
        let sha256 = as_text(&item, SHA256);
        let malformed = StoreError::Malformed("a part of a large body");
        let ((parts, data), sha256) = parts.zip(data).zip(sha256).ok_or(malformed)?;
        Ok(Some(Part {
            parts,
            sha256: sha256.to_owned(),
            data: data.as_ref().to_vec(),
        }))
    }
}

/// One part of a body, with what every part says of the whole.
struct Part {
    parts: usize,
    sha256: String,
    data: Vec<u8>,
}

fn finished(
    written: Option<Result<Result<(), StoreError>, tokio::task::JoinError>>,
) -> Result<(), StoreError> {
    let stopped = |_| StoreError::Unavailable("a write was stopped".to_owned());
    written.map_or(Ok(()), |written| written.map_err(stopped)?)
}

fn compress(part: &[u8]) -> Result<Vec<u8>, StoreError> {
    let write = || -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(part)?;
        encoder.finish()
    };
    write().map_err(|_| StoreError::Malformed("a body cannot be compressed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_cannot_be_compressed_stays_below_300_kb() {
        let noise: Vec<u8> = std::iter::successors(Some(1_u64), |it| {
            Some(it.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
        })
        .flat_map(u64::to_le_bytes)
        .take(PART)
        .collect();
        let compressed = compress(&noise).unwrap();
        assert!(compressed.len() < 300_000, "{}", compressed.len());
    }

    #[test]
    fn the_parts_in_a_row_are_one_gzip_file() {
        let parts = [compress(b"one ").unwrap(), compress(b"two").unwrap()].concat();
        let mut text = String::new();
        MultiGzDecoder::new(parts.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "one two");
    }
}
