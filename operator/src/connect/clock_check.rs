//! Compares this machine's clock with DynamoDB's: calls are counted by the clocks of all who make them.

use std::fmt;

use dialog360::id::PartnerId;
use jiff::{SignedDuration, Timestamp};
use runtime::clock;
use store::table::Table;

use super::call_error::NotCounted;

/// How far this machine's clock may be off.
const MOST_OFF: SignedDuration = SignedDuration::from_secs(2);

/// How much later than it says a date may have been written: it has whole seconds.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// An answer that took longer says too little about the clock. With this, a clock that is not refused is off by 5 s at most.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_secs(2);

/// How often an answer is waited for that is quick enough: the first one opens the connection.
const TRIES: usize = 3;

/// Between which times of this machine DynamoDB wrote a date.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Timestamp,
    answered: Timestamp,
    date: Timestamp,
}

/// How this machine's clock is wrong, by at least so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine's clock is {by} s {direction} DynamoDB's, so calls would be counted at wrong times and 360dialog was \
     not called: set the clock (switch on its synchronisation), and run the command again"
)]
pub(crate) struct WrongClock {
    by: i64,
    direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    AheadOf,
    Behind,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AheadOf => "ahead of",
            Self::Behind => "behind",
        })
    }
}

/// Reads the date of an answer of `table`, and compares this machine's clock with it. Without a date the clock passes for
/// right.
pub(crate) async fn check_clock(
    table: &Table,
    partner: &PartnerId,
) -> Result<Result<(), WrongClock>, NotCounted> {
    for _ in 0..TRIES {
        let asked = clock::now();
        let date = table.server_date(partner).await?;
        let answered = clock::now();
        let Some(date) = date else {
            return Ok(Ok(()));
        };
        let answer = Answer {
            asked,
            answered,
            date,
        };
        let compared = answer.compare();
        if compared.is_err() || answer.is_quick() {
            return Ok(compared);
        }
    }
    Err(NotCounted::Slow)
}

impl Answer {
    fn is_quick(self) -> bool {
        self.answered.duration_since(self.asked) <= LONGEST_ANSWER
    }

    /// Fails if the clock is off by more than 2 s whenever DynamoDB wrote the date between question and answer.
    fn compare(self) -> Result<(), WrongClock> {
        let ahead = self.asked.duration_since(self.date).saturating_sub(SECOND);
        let behind = self.date.duration_since(self.answered);
        for (off, direction) in [(ahead, Direction::AheadOf), (behind, Direction::Behind)] {
            if off > MOST_OFF {
                let by = off.as_secs();
                return Err(WrongClock { by, direction });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap()
    }

    /// Compares a clock that showed these times, s, with a date of the second 100.
    fn compared(asked: f64, answered: f64) -> Result<(), WrongClock> {
        let answer = Answer {
            asked: at(asked),
            answered: at(answered),
            date: at(100.0),
        };
        answer.compare()
    }

    fn is_wrong(by: i64, direction: Direction) -> Result<(), WrongClock> {
        Err(WrongClock { by, direction })
    }

    #[test]
    fn a_clock_is_wrong_only_if_neither_the_fraction_of_the_second_nor_the_way_explains_it() {
        // The date was written up to a second after the one that it names.
        for (asked, answered) in [(100.0, 100.1), (100.9, 101.2), (102.9, 103.1)] {
            assert_eq!(compared(asked, answered), Ok(()));
        }
        assert_eq!(compared(103.0, 103.1), Ok(()));
        assert_eq!(compared(103.1, 103.2), is_wrong(2, Direction::AheadOf));
        assert_eq!(compared(170.5, 170.6), is_wrong(69, Direction::AheadOf));
        // It was written before the answer came.
        assert_eq!(compared(97.9, 98.0), Ok(()));
        assert_eq!(compared(97.8, 97.9), is_wrong(2, Direction::Behind));
        assert_eq!(compared(30.0, 30.5), is_wrong(69, Direction::Behind));
        // A slow answer leaves both open.
        assert_eq!(compared(90.0, 99.0), Ok(()));
    }

    #[test]
    fn a_clock_that_is_right_by_a_quick_answer_is_off_by_five_seconds_at_most() {
        let answers = [(96.0, 98.0), (103.0, 105.0), (100.0, 102.0)];
        for (asked, answered) in answers {
            let answer = Answer {
                asked: at(asked),
                answered: at(answered),
                date: at(100.0),
            };
            assert!(answer.is_quick() && answer.compare().is_ok());
            let most_ahead = answer.answered.duration_since(answer.date);
            let most_behind = (answer.date + SECOND).duration_since(answer.asked);
            assert!(most_ahead.max(most_behind) <= SignedDuration::from_secs(5));
        }
        let slow = Answer {
            asked: at(100.0),
            answered: at(102.1),
            date: at(100.0),
        };
        assert!(!slow.is_quick());
    }

    #[test]
    fn the_message_says_how_the_clock_is_wrong_and_what_to_do() {
        for (direction, words) in [
            (Direction::AheadOf, "clock is 7 s ahead of DynamoDB's, so"),
            (Direction::Behind, "clock is 7 s behind DynamoDB's, so"),
        ] {
            let said = WrongClock { by: 7, direction }.to_string();
            assert!(
                said.contains(words) && said.contains("set the clock"),
                "{said}"
            );
        }
    }
}
