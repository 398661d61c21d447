//! Shows a partner's queue: what waits in each lane, whether calls are made, and how many keys are stored.

use dialog360::id::PartnerId;
use jiff::{SignedDuration, Timestamp};
use onboarding::channel::Channel;
use onboarding::fact::KeyStatus;
use onboarding::queue::{Due, Lane, Rate};
use runtime::clock;
use serde_json::json;
use store::table::prefix;
use store::{Error, Queue, Refolds, StoredChannel, StoredEntry, Subject, WorkState, Works};

use crate::instance::{Instance, OperatorError};
use crate::reporter::{add_line, word};

/// How far the items of a lane are counted.
const MOST_COUNTED: usize = 1000;

/// How many rows of the index are read to find the first of a lane: those of items that have moved on may be before it.
const HEADS: i32 = 10;

/// How many calls a new number takes: a look, a list of keys and a POST.
const CALLS_OF_A_NUMBER: u64 = 3;

/// The period for which stored keys are counted.
const KEYS_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// The state of a queue.
struct QueueState {
    now: Timestamp,
    work: WorkState,
    rate: Rate,
    lanes: Vec<LaneState>,
    keys: usize,
    /// How many channels are due to be joined anew, counted up to [`MOST_COUNTED`].
    refolds: usize,
}

/// The state of one lane.
struct LaneState {
    lane: Lane,
    /// How many items wait, counted up to [`MOST_COUNTED`].
    waiting: usize,
    first: Option<(Subject, StoredEntry)>,
}

impl Instance {
    /// Describes the queue of a partner, a line for each lane.
    pub async fn queue(&self, partner: &PartnerId) -> Result<String, OperatorError> {
        self.must_serve(partner)?;
        let failed = |error| self.store_error(error);
        let state = self.read_queue(partner, self.rate()?).await;
        Ok(report(partner, &state.map_err(failed)?))
    }

    async fn read_queue(&self, partner: &PartnerId, rate: Rate) -> Result<QueueState, Error> {
        let table = self.table();
        let queue = Queue::new(table.clone());
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            lanes.push(LaneState {
                lane,
                waiting: queue.count(partner, lane, MOST_COUNTED).await?,
                first: first(&queue, partner, lane).await?,
            });
        }
        let refolds = Refolds::new(table.clone());
        let refolds = refolds
            .count_due(partner, clock::now(), MOST_COUNTED)
            .await?;
        let work = Works::new(table.clone()).inspect(partner).await?;
        let (now, mut keys) = (clock::now(), 0_usize);
        for item in table.scan_kinds(partner, &[prefix::CHANNEL]).await? {
            let channel = StoredChannel::from_item(&item)?.channel;
            keys = keys.saturating_add(usize::from(is_stored_lately(&channel, now)));
        }
        Ok(QueueState {
            now,
            work,
            rate,
            lanes,
            keys,
            refolds,
        })
    }
}

/// The first item of a lane that is still where the index shows it.
async fn first(
    queue: &Queue,
    partner: &PartnerId,
    lane: Lane,
) -> Result<Option<(Subject, StoredEntry)>, Error> {
    for row in queue.rows(partner, lane, Timestamp::MAX, HEADS).await? {
        let entry = queue.entry(&row.subject).await?;
        if entry.order(row.subject.task()) == Some(row.order) {
            return Ok(Some((row.subject, entry)));
        }
    }
    Ok(None)
}

fn is_stored_lately(channel: &Channel, now: Timestamp) -> bool {
    let key = channel.key.as_ref();
    key.is_some_and(|key| {
        key.value.status == KeyStatus::Stored && now.duration_since(key.at) <= KEYS_WITHIN
    })
}

fn report(partner: &PartnerId, state: &QueueState) -> String {
    let QueueState {
        now, work, rate, ..
    } = state;
    let mut text = String::new();
    let mut line = |name: &str, said: &str| add_line(&mut text, &format!("{name:<16} {said}"));
    line("queue", &format!("{partner} at {now}"));
    let lease = work.leased_until.filter(|until| until > now);
    let lease = lease.map(|until| format!("leased until {until}"));
    line(
        "worker",
        &lease.unwrap_or_else(|| "none at work".to_owned()),
    );
    let circuit = match work.work.circuit.stopped(*now) {
        Some((until, why)) => {
            let why = json!(why);
            format!("open until {until}: {}", why.as_str().unwrap_or("-"))
        }
        None => "closed: calls are made".to_owned(),
    };
    line("circuit", &circuit);
    let calls = match rate {
        Rate::Off => "not limited".to_owned(),
        Rate::Limit { .. } => format!("{} of {rate} are used", work.work.counting(*rate, *now)),
    };
    line("calls", &calls);
    let possible = rate.calls_per_hour().map(|calls| calls / CALLS_OF_A_NUMBER);
    let possible = possible.map_or("any number".to_owned(), |keys| keys.to_string());
    let keys = format!(
        "{} stored in the last hour, {possible} possible",
        state.keys
    );
    line("keys", &keys);
    line("place", &work.work.place.number().to_string());
    for lane in &state.lanes {
        let name = match lane.lane {
            Lane::Line => "line",
            Lane::Alarm => "alarm",
            Lane::Background => "background",
            Lane::Comparison => "comparison",
        };
        line(name, &lane_in_words(lane, *now));
    }
    line("refold", &waiting_in_words(state.refolds));
    text
}

fn waiting_in_words(number: usize) -> String {
    match number {
        MOST_COUNTED => format!("{MOST_COUNTED} or more wait"),
        1 => "1 waits".to_owned(),
        number => format!("{number} wait"),
    }
}

fn lane_in_words(lane: &LaneState, now: Timestamp) -> String {
    let waiting = waiting_in_words(lane.waiting);
    let Some((subject, entry)) = &lane.first else {
        return waiting;
    };
    let since = match entry.entry.due.and_then(Due::time).or(entry.since) {
        Some(at) if at > now => format!("until {at}"),
        Some(at) => format!("since {at}"),
        None => "since -".to_owned(),
    };
    let subject = match subject {
        Subject::Channel(id) => format!("key channel={}", id.channel),
        Subject::Client(_, client) => format!("look client={client}"),
        Subject::Claim(_, claim) => format!("register claim={claim}"),
        Subject::Sweep(_) => "sweep of all channels".to_owned(),
    };
    let payer = entry.payer.as_ref();
    let payer = payer.map_or("-".to_owned(), |payer| word(payer.as_str()));
    let place = entry.entry.due.and_then(Due::place);
    let place = place.map_or("-".to_owned(), |place| place.number().to_string());
    format!("{waiting}, the first {since}: {subject} tenant={payer} place={place}")
}

#[cfg(test)]
mod tests {
    use onboarding::queue::{Heard, Place, Work};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn lane(lane: Lane, waiting: usize, due: Due, since: Option<Timestamp>) -> LaneState {
        let subject = Subject::Client("aPA".parse().unwrap(), "aCL".parse().unwrap());
        let mut entry = StoredEntry::default();
        entry.entry.due = Some(due);
        entry.since = since;
        entry.payer = Some("a b".parse().unwrap());
        LaneState {
            lane,
            waiting,
            first: Some((subject, entry)),
        }
    }

    #[test]
    fn every_line_says_what_waits_and_why() {
        let rate: Rate = "5/30s".parse().unwrap();
        let mut work = Work::default();
        work.count(rate, Lane::Line, at(100));
        work.circuit.hear(Heard::RateLimited(None), "aCL", at(100));
        let kept = Due::At {
            at: at(130),
            kept: Some(Place::new(7)),
        };
        let state = QueueState {
            now: at(101),
            work: WorkState {
                work,
                leased_until: Some(at(110)),
            },
            rate,
            lanes: vec![
                lane(Lane::Line, 1000, Due::InLine(Place::new(3)), Some(at(90))),
                lane(Lane::Alarm, 1, kept, None),
                LaneState {
                    lane: Lane::Background,
                    waiting: 0,
                    first: None,
                },
            ],
            keys: 2,
            refolds: 1,
        };
        let expected = "queue            aPA at 1970-01-01T00:01:41Z\n\
            worker           leased until 1970-01-01T00:01:50Z\n\
            circuit          open until 1970-01-01T00:02:10Z: rate_limited\n\
            calls            1 of 5/30s are used\n\
            keys             2 stored in the last hour, 196 possible\n\
            place            0\n\
            line             1000 or more wait, the first since 1970-01-01T00:01:30Z: look client=aCL tenant=\"a b\" place=3\n\
            alarm            1 waits, the first until 1970-01-01T00:02:10Z: look client=aCL tenant=\"a b\" place=7\n\
            background       0 wait\n\
            refold           1 waits\n";
        assert_eq!(report(&"aPA".parse().unwrap(), &state), expected);
    }

    #[test]
    fn without_a_limit_and_at_rest_nothing_is_in_the_way() {
        let state = QueueState {
            now: at(101),
            work: WorkState {
                work: Work::default(),
                leased_until: Some(at(100)),
            },
            rate: Rate::Off,
            lanes: Vec::new(),
            keys: 0,
            refolds: 0,
        };
        let said = report(&"aPA".parse().unwrap(), &state);
        for words in [
            "worker           none at work\n",
            "circuit          closed: calls are made\n",
            "calls            not limited\n",
            "keys             0 stored in the last hour, any number possible\n",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}
