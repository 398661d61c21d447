//! Due work. Whatever is due is in one of four lanes, and nothing that was made due is lost.

use jiff::{SignedDuration, Timestamp};

use super::Place;

/// For how long taken work is put off: whoever took it has recorded its outcome by then, or has died.
pub const TAKEN_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The distance between two places in the order of the line: more than any time (ms) that is added to it.
const PLACE_STEP: i128 = 1_000_000_000_000_000;

/// A lane: the kind of order in which work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A customer waits, and a call can help: ordered by places.
    Line,
    /// Something else must happen first: an alarm clock, ordered by time.
    Alarm,
    /// The background: ordered by time, with one call in ten.
    Background,
    /// Stored keys that are compared with 360dialog's list: ordered by time, behind the rest of the background.
    Comparison,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 4] = [Self::Line, Self::Alarm, Self::Background, Self::Comparison];

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Line => 0,
            Self::Alarm => 1,
            Self::Background => 2,
            Self::Comparison => 3,
        }
    }

    /// Whether nobody waits for what is in it.
    pub fn is_background(self) -> bool {
        matches!(self, Self::Background | Self::Comparison)
    }
}

/// The two kinds of work in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// To make a key, which goes before the looks of the same place.
    Key,
    /// To look at a client.
    Look,
}

impl Task {
    /// How many calls it takes: a list of keys and a POST, or one read.
    pub fn calls(self) -> usize {
        match self {
            Self::Key => 2,
            Self::Look => 1,
        }
    }
}

/// When work is due, and in which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// In the line, at a place that its tenant has paid for.
    InLine(Place),
    /// At a time, when it moves into the line: at `kept`, or at a place that its tenant pays for then.
    At {
        /// The time (ms).
        at: Timestamp,
        /// A place that was paid for and not used.
        kept: Option<Place>,
    },
    /// In the background from a time on (ms).
    Background(Timestamp),
    /// To be compared from a time on (ms).
    Comparison(Timestamp),
}

impl Due {
    /// Its lane.
    pub fn lane(self) -> Lane {
        match self {
            Self::InLine(_) => Lane::Line,
            Self::At { .. } => Lane::Alarm,
            Self::Background(_) => Lane::Background,
            Self::Comparison(_) => Lane::Comparison,
        }
    }

    /// Its order within the lane: the smallest comes first. Of two equal places the one comes first that has been in the
    /// line longer, since `lined_up`.
    pub fn order(self, task: Task, lined_up: Timestamp) -> i128 {
        match self {
            Self::InLine(place) => {
                let halves = i128::from(place.number()) * 2 + i128::from(task == Task::Look);
                halves * PLACE_STEP + i128::from(lined_up.as_millisecond())
            }
            Self::At { at, .. } | Self::Background(at) | Self::Comparison(at) => {
                at.as_millisecond().into()
            }
        }
    }

    /// The place it has paid for.
    pub fn place(self) -> Option<Place> {
        match self {
            Self::InLine(place) => Some(place),
            Self::At { kept, .. } => kept,
            Self::Background(_) | Self::Comparison(_) => None,
        }
    }

    /// Both: no later than either, and in no lesser lane than either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            // The place that is there is paid for, and is the earlier one.
            (Self::InLine(place), _) => Self::InLine(place),
            (kept, Self::InLine(place)) => Self::InLine(kept.place().unwrap_or(place)),
            (Self::At { at, kept }, other) => Self::At {
                at: at.min(other.time().unwrap_or(at)),
                kept: kept.or(other.place()),
            },
            (Self::Background(at) | Self::Comparison(at), Self::At { at: other, kept }) => {
                Self::At {
                    at: at.min(other),
                    kept,
                }
            }
            (Self::Comparison(at), Self::Comparison(other)) => Self::Comparison(at.min(other)),
            (
                Self::Background(at) | Self::Comparison(at),
                Self::Background(other) | Self::Comparison(other),
            ) => Self::Background(at.min(other)),
        }
    }

    /// The time it waits for, in the lanes that are ordered by time.
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::InLine(_) => None,
            Self::At { at, .. } | Self::Background(at) | Self::Comparison(at) => Some(at),
        }
    }
}

/// The due time of one item, and whether a worker has taken it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it is due; `None`: nothing is to do.
    pub due: Option<Due>,
    /// The token of the worker that took it, until it is made due or its outcome is recorded.
    pub taken: Option<String>,
}

impl Entry {
    /// Whether a tenant pays to have it in the line: not for what is there already, nor for what has paid and waits.
    ///
    /// Work that a worker has taken is paid for again: its place is spent.
    pub fn is_paid(&self) -> bool {
        let place = self.due.and_then(Due::place);
        place.is_some() && self.taken.is_none()
    }

    /// Makes it due. In the line, what a worker has taken is due at the place that is told: its own is spent.
    #[must_use]
    pub fn made_due(&self, due: Due) -> Self {
        let is_spent = self.taken.is_some() && due.lane() == Lane::Line;
        let before = self.due.filter(|_| !is_spent);
        Self {
            due: Some(before.map_or(due, |before| before.and(due))),
            taken: None,
        }
    }

    /// Takes it under `token`: puts it off for a minute, in case the worker dies.
    #[must_use]
    pub fn taken(&self, token: &str, now: Timestamp) -> Self {
        let at = now.saturating_add(TAKEN_FOR).unwrap_or(now);
        let due = match self.due {
            Some(Due::Background(_)) => Due::Background(at),
            Some(Due::Comparison(_)) => Due::Comparison(at),
            due => Due::At {
                at,
                kept: due.and_then(Due::place),
            },
        };
        Self {
            due: Some(due),
            taken: Some(token.to_owned()),
        }
    }

    /// The entry after the work of `token` is done: as `next` says, unless it was made due meanwhile.
    #[must_use]
    pub fn done(&self, token: &str, next: Option<Due>) -> Self {
        if self.taken.as_deref() != Some(token) {
            return self.clone();
        }
        Self {
            due: next,
            taken: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn alarm(second: i64) -> Due {
        Due::At {
            at: at(second),
            kept: None,
        }
    }

    const THIRD: Due = Due::InLine(Place::new(3));

    #[test]
    fn making_due_never_makes_later_and_never_moves_to_a_lesser_lane() {
        let all = [
            THIRD,
            Due::InLine(Place::new(9)),
            alarm(5),
            alarm(50),
            Due::At {
                at: at(20),
                kept: Some(Place::new(1)),
            },
            Due::Background(at(1)),
            Due::Background(at(100)),
            Due::Comparison(at(2)),
            Due::Comparison(at(200)),
        ];
        for one in all {
            for other in all {
                let both = one.and(other);
                assert!(
                    both.lane() <= one.lane().min(other.lane()),
                    "{one:?} {other:?}"
                );
                let times = [one.time(), other.time()].into_iter().flatten();
                if let Some(time) = both.time() {
                    assert!(
                        times.clone().all(|earlier| time <= earlier),
                        "{one:?} {other:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_place_that_was_paid_for_is_kept_until_a_worker_has_used_it() {
        let waits = Entry {
            due: Some(Due::At {
                at: at(9),
                kept: Some(Place::new(3)),
            }),
            taken: None,
        };
        assert!(waits.is_paid());
        let in_line = waits.made_due(Due::InLine(Place::new(8)));
        assert_eq!(in_line.due, Some(THIRD));
        let taken = in_line.taken("t", at(0));
        assert!(!taken.is_paid());
        let again = taken.made_due(Due::InLine(Place::new(8)));
        assert_eq!(again.due, Some(Due::InLine(Place::new(8))));
        // A worker that died leaves its work where it was.
        assert_eq!(taken.due.and_then(Due::place), Some(Place::new(3)));
        assert_eq!(taken.due.and_then(Due::time), Some(at(60)));
    }

    #[test]
    fn a_key_goes_before_the_looks_of_its_place_and_after_those_of_smaller_places() {
        let order = |place, task| Due::InLine(Place::new(place)).order(task, at(9));
        assert!(order(3, Task::Key) < order(3, Task::Look));
        assert!(order(2, Task::Look) < order(3, Task::Key));
        let later = Due::InLine(Place::new(3)).order(Task::Key, at(10));
        assert!(order(3, Task::Key) < later && later < order(3, Task::Look));
    }

    /// One making due (a read, and a write that holds only if nothing was written since, else both again) against one
    /// worker (read, take, read, record the outcome), in all 15 orders of their steps.
    #[test]
    fn made_due_while_taken_is_never_lost_in_any_order_of_the_steps() {
        let mut orders = 0;
        for maker in (0_u32..64).filter(|steps| steps.count_ones() == 2) {
            orders += 1;
            let mut table = (Entry::default().made_due(THIRD), 0);
            let (mut seen, mut read) = (table.clone(), table.clone());
            let (mut told, mut began) = (false, false);
            let write = |table: &mut (Entry, i32), seen: &(Entry, i32), new: Entry| {
                let holds = table.1 == seen.1;
                if holds {
                    *table = (new, seen.1 + 1);
                }
                holds
            };
            let (mut maker_step, mut worker_step) = (0, 0);
            for step in 0..6 {
                if maker & (1 << step) != 0 {
                    match maker_step {
                        0 => read = table.clone(),
                        _ => {
                            while !write(
                                &mut table,
                                &read,
                                read.0.made_due(Due::InLine(Place::new(7))),
                            ) {
                                read = table.clone();
                            }
                            told = true;
                            // The worker that begins now sees what was told.
                            began = false;
                        }
                    }
                    maker_step += 1;
                } else {
                    match worker_step {
                        0 | 2 => seen = table.clone(),
                        1 => {
                            let taken = seen.0.taken("t", at(0));
                            began = write(&mut table, &seen, taken);
                        }
                        _ => {
                            let done = seen.0.done("t", None);
                            while !write(&mut table, &seen, done.clone()) {
                                seen = table.clone();
                                if seen.0.taken.as_deref() != Some("t") {
                                    break;
                                }
                            }
                        }
                    }
                    worker_step += 1;
                }
            }
            assert!(told);
            assert!(
                began || table.0.due.is_some(),
                "order {maker:06b}: {table:?}"
            );
        }
        assert_eq!(orders, 15);
    }
}
