//! Joins all facts of a channel anew: of each bound channel once a day, so that a lost record of any fact heals, and of what
//! an operator has made due.

use std::collections::VecDeque;

use dialog360::id::{ChannelRef, PartnerId};
use jiff::{SignedDuration, Timestamp};
use runtime::clock;
use store::table::Item;
use store::{DueRefold, Error, Write};
use tokio::time::{Duration, Instant};

use crate::Fold;
use crate::join::Joined;

/// How many due channels are read in one page: then it is the next partner's turn.
const PAGE: i32 = 20;

/// The run time that must be left to begin a channel: six calls, 4 s each at most.
const CHANNEL_TIME: Duration = Duration::from_secs(24);

/// When a channel is tried again whose facts could not be joined, or whose run died.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// A day, ms.
const DAY: i64 = 24 * 3600 * 1000;

impl Fold {
    /// Joins all facts of the channels that are due, page by page with the partners in turn. Begins no channel that might
    /// not end before `until`.
    ///
    /// A channel that fails is put off and does not stop the others, nor does a partner; the last error is returned.
    pub async fn refold(&self, now: Timestamp, until: Instant) -> Result<(), Error> {
        let partners = self.settings.partner_ids.iter();
        let mut turns: VecDeque<(&PartnerId, Option<Item>)> =
            partners.map(|partner| (partner, None)).collect();
        let first = usize::try_from(now.as_second().div_euclid(60)).unwrap_or(0);
        turns.rotate_left(first.checked_rem(turns.len()).unwrap_or(0));
        let mut result = Ok(());
        while let Some((partner, after)) = turns.pop_front() {
            let page = match self.refolds.due(partner, after, now, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, %partner, "the channels that are due to be joined anew could not be read");
                    result = Err(error);
                    continue;
                }
            };
            for row in page.rows {
                if until.saturating_duration_since(Instant::now()) < CHANNEL_TIME {
                    return result;
                }
                if let Err(error) = self.refold_one(&row).await {
                    let ChannelRef { partner, channel } = &row.channel;
                    tracing::error!(%error, %partner, %channel, "the facts of a channel could not be joined anew: they will be later");
                    result = Err(error);
                }
            }
            if let Some(last) = page.last {
                turns.push_back((partner, Some(last)));
            }
        }
        result
    }

    async fn refold_one(&self, row: &DueRefold) -> Result<(), Error> {
        let channel = &row.channel;
        let taken = clock::now().saturating_add(AGAIN_AFTER).unwrap_or(row.due);
        // A conflict: another run is at it, or the index lags.
        if self.refolds.take(row, taken).await? == Write::Conflict {
            return Ok(());
        }
        let joined = match self.join_all(channel).await {
            // It would not be read any better in a quarter of an hour.
            Err(Error::Malformed(what)) => {
                let ChannelRef { partner, channel } = channel;
                tracing::error!(%partner, %channel, what, "the facts of a channel were not joined anew: the channel cannot be read");
                Joined::ToBound
            }
            joined => joined?,
        };
        match joined {
            Joined::ToBound => {
                let next = next_refold(channel, clock::now());
                self.refolds.done(channel, taken, next).await
            }
            Joined::ToUnbound => self.refolds.end(channel, taken).await,
        }
    }

    async fn join_all(&self, channel: &ChannelRef) -> Result<Joined, Error> {
        let (facts, unreadable) = self.facts.read_all(channel).await?;
        if unreadable > 0 {
            let ChannelRef { partner, channel } = channel;
            tracing::error!(%partner, %channel, unreadable, "facts were skipped: they are not in the form we write");
        }
        self.join_into(channel, &facts).await
    }
}

/// The next time after `now` at which the facts of a channel are joined anew: a time of day of its own, so that a fleet that
/// was bound in one hour is spread over the day.
pub(crate) fn next_refold(channel: &ChannelRef, now: Timestamp) -> Timestamp {
    let ChannelRef { partner, channel } = channel;
    let time_of_day = fnv_1a(&format!("{partner}/{channel}")).rem_euclid(DAY.unsigned_abs());
    let time_of_day = i64::try_from(time_of_day).unwrap_or(0);
    let since_then = now
        .as_millisecond()
        .saturating_sub(time_of_day)
        .rem_euclid(DAY);
    let wait = SignedDuration::from_millis(DAY.saturating_sub(since_then));
    now.saturating_add(wait).unwrap_or(now)
}

/// A hash that stays the same in all versions of this program.
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use runtime::aws::local;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Settings;

    fn number(index: usize) -> ChannelRef {
        let channel = format!("n{index}CH").parse().unwrap();
        ChannelRef::new("aPA".parse().unwrap(), channel)
    }

    /// I13
    #[test]
    fn a_channel_has_its_turn_once_a_day() {
        let mut at = clock::now();
        let first = next_refold(&number(0), at);
        assert!(first > at && first.duration_since(at).as_millis() <= i128::from(DAY));
        for day in 1..=3 {
            // However late it was joined.
            at = next_refold(&number(0), at);
            let late = at.saturating_add(SignedDuration::from_hours(day)).unwrap();
            let next = next_refold(&number(0), late);
            assert_eq!(next.duration_since(at).as_millis(), i128::from(DAY));
        }
    }

    #[test]
    fn channels_that_are_bound_at_once_are_spread_over_the_day() {
        let (now, mut hours) = (clock::now(), [0; 24]);
        for index in 0..2400 {
            let wait = next_refold(&number(index), now).duration_since(now);
            hours[usize::try_from(wait.as_hours().min(23)).unwrap()] += 1;
        }
        let (least, most) = (hours.iter().min(), hours.iter().max());
        assert!(
            least >= Some(&60) && most <= Some(&140),
            "{hours:?} and not about 100 each"
        );
    }

    /// I13
    #[tokio::test]
    async fn a_partner_that_cannot_be_read_does_not_stop_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        tokio::spawn(refuse_all(listener, asked.clone()));
        let table = local::table(&endpoint, "table");
        let settings = Settings {
            table_name: "table".to_owned(),
            bodies_table_name: "bodies".to_owned(),
            partner_ids: "aPA,bPA,cPA".parse().unwrap(),
        };
        let fold = Fold::new(settings, table.clone(), table, None);
        let until = Instant::now() + Duration::from_secs(60);
        assert!(fold.refold(clock::now(), until).await.is_err());
        let all = ["REFOLD#aPA", "REFOLD#bPA", "REFOLD#cPA"].map(str::to_owned);
        assert_eq!(*asked.lock().unwrap(), BTreeSet::from(all));
    }

    /// A DynamoDB that refuses every query, and notes the partition.
    async fn refuse_all(listener: TcpListener, asked: Arc<Mutex<BTreeSet<String>>>) {
        const KEY: &str = "REFOLD#aPA";
        let refusal = r#"{"__type":"ResourceNotFoundException"}"#;
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{refusal}",
            refusal.len()
        );
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let key = loop {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break None;
                }
                let text = String::from_utf8_lossy(&request);
                let key = text
                    .find("REFOLD#")
                    .and_then(|at| text.get(at..at + KEY.len()));
                if let Some(key) = key {
                    break Some(key.to_owned());
                }
            };
            asked.lock().unwrap().extend(key);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}
