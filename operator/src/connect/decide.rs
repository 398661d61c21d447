//! What to do with an address, decided from what 360dialog says, what ours is and what is kept. No I/O.

use std::collections::BTreeSet;

use store::{Before, KeptAddress};
use url::Url;

/// What 360dialog points to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It does not tell, for this reason.
    Untold(String),
    /// Nothing is set.
    Nothing,
    /// This address.
    Url(String),
}

/// What to do with an address that somebody else has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave it, and everything else too.
    Refuse,
    /// Keep it and put ours in its place.
    Replace,
}

/// How an address becomes ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is.
    IsOurs,
    /// By keeping this first.
    Set(KeptAddress),
    /// Not at all: it is somebody else's.
    Refuse,
    /// Not without being told to: what is there is not known, so it could not be put back.
    LeaveUntold,
}

/// How an address becomes what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// By setting this one, or none.
    Put(Option<String>),
    /// It is not ours, so there is nothing to put back.
    NotOurs,
    /// It is ours, but nothing was kept.
    NothingKept,
    /// It is ours, or may be, and what was there before is not known.
    Untold,
}

/// How `seen` becomes `ours`.
///
/// What is kept is never one of our own addresses, and an address once kept gives way only to another one that
/// somebody else has set since.
pub(crate) fn connect(
    seen: &Seen,
    ours: &str,
    kept: Option<&KeptAddress>,
    on_conflict: OnConflict,
) -> Step {
    let before = match seen {
        Seen::Url(url) if is_same(url, ours) => return Step::IsOurs,
        Seen::Url(url) if was_ours(url, kept) => None,
        Seen::Url(_) if on_conflict == OnConflict::Refuse => return Step::Refuse,
        Seen::Untold(_) if on_conflict == OnConflict::Refuse => return Step::LeaveUntold,
        Seen::Url(url) => Some(Before::Url(url.clone())),
        Seen::Nothing | Seen::Untold(_) => None,
    };
    let or_now = || kept.map_or_else(|| unset(seen), |kept| kept.before.clone());
    let mut all_ours = kept.map_or_else(BTreeSet::new, |kept| kept.ours.clone());
    all_ours.insert(ours.to_owned());
    Step::Set(KeptAddress {
        before: before.unwrap_or_else(or_now),
        ours: all_ours,
    })
}

/// How `seen` becomes what was kept.
pub(crate) fn remove(seen: &Seen, ours: &str, kept: Option<&KeptAddress>) -> Back {
    match (seen, kept) {
        (Seen::Url(url), None) if is_same(url, ours) => Back::NothingKept,
        (Seen::Url(url), Some(kept)) if is_same(url, ours) || was_ours(url, Some(kept)) => {
            match &kept.before {
                Before::Url(url) => Back::Put(Some(url.clone())),
                Before::Nothing => Back::Put(None),
                Before::Untold => Back::Untold,
            }
        }
        (Seen::Untold(_), Some(_)) => Back::Untold,
        _ => Back::NotOurs,
    }
}

/// Whether two texts are the same address: a host's case and a default port make no difference, a path does.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    match (Url::parse(a), Url::parse(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn was_ours(url: &str, kept: Option<&KeptAddress>) -> bool {
    kept.is_some_and(|kept| kept.ours.iter().any(|ours| is_same(url, ours)))
}

fn unset(seen: &Seen) -> Before {
    if matches!(seen, Seen::Untold(_)) {
        Before::Untold
    } else {
        Before::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://api.example/aPA/webhook";
    const EARLIER: &str = "https://earlier.example/aPA/webhook";
    const FOREIGN: &str = "https://old.example/hook";

    fn url(text: &str) -> Seen {
        Seen::Url(text.to_owned())
    }

    fn untold() -> Seen {
        Seen::Untold("HTTP 405".to_owned())
    }

    fn kept(before: Before, ours: &[&str]) -> KeptAddress {
        KeptAddress {
            before,
            ours: ours.iter().map(|ours| (*ours).to_owned()).collect(),
        }
    }

    fn kept_foreign() -> KeptAddress {
        kept(Before::Url(FOREIGN.to_owned()), &[OURS])
    }

    #[test]
    fn nothing_becomes_ours_and_that_there_was_nothing_is_kept() {
        let step = Step::Set(kept(Before::Nothing, &[OURS]));
        assert_eq!(
            connect(&Seen::Nothing, OURS, None, OnConflict::Refuse),
            step
        );
        assert_eq!(
            connect(&Seen::Nothing, OURS, None, OnConflict::Replace),
            step
        );
    }

    #[test]
    fn ours_stays_whatever_is_kept() {
        for known in [None, Some(&kept_foreign())] {
            for on_conflict in [OnConflict::Refuse, OnConflict::Replace] {
                assert_eq!(connect(&url(OURS), OURS, known, on_conflict), Step::IsOurs);
                assert_eq!(
                    connect(
                        &url("HTTPS://API.example:443/aPA/webhook"),
                        OURS,
                        known,
                        on_conflict
                    ),
                    Step::IsOurs
                );
            }
        }
    }

    #[test]
    fn somebody_else_s_is_replaced_only_on_demand_and_then_kept() {
        for seen in [
            FOREIGN,
            "https://api.example/aPA/webhook/",
            "https://api.example/bPA/webhook",
            "not an address",
        ] {
            assert_eq!(
                connect(&url(seen), OURS, None, OnConflict::Refuse),
                Step::Refuse,
                "{seen}"
            );
            let step = Step::Set(kept(Before::Url(seen.to_owned()), &[OURS]));
            assert_eq!(
                connect(&url(seen), OURS, None, OnConflict::Replace),
                step,
                "{seen}"
            );
        }
    }

    #[test]
    fn an_earlier_address_of_ours_gives_way_and_never_takes_the_place_of_what_was_kept() {
        let before = Before::Url(FOREIGN.to_owned());
        let known = kept(before.clone(), &[EARLIER]);
        let step = Step::Set(kept(before, &[EARLIER, OURS]));
        assert_eq!(
            connect(&url(EARLIER), OURS, Some(&known), OnConflict::Refuse),
            step
        );
        assert_eq!(
            connect(&url(EARLIER), OURS, Some(&known), OnConflict::Replace),
            step
        );
    }

    #[test]
    fn what_is_kept_gives_way_to_another_address_but_not_to_none() {
        let step = Step::Set(kept_foreign());
        assert_eq!(
            connect(
                &Seen::Nothing,
                OURS,
                Some(&kept_foreign()),
                OnConflict::Refuse
            ),
            step
        );
        assert_eq!(
            connect(&untold(), OURS, Some(&kept_foreign()), OnConflict::Replace),
            step
        );
        let other = "https://other.example/hook";
        let step = Step::Set(kept(Before::Url(other.to_owned()), &[OURS]));
        assert_eq!(
            connect(
                &url(other),
                OURS,
                Some(&kept_foreign()),
                OnConflict::Replace
            ),
            step
        );
        assert_eq!(
            connect(&url(other), OURS, Some(&kept_foreign()), OnConflict::Refuse),
            Step::Refuse
        );
    }

    #[test]
    fn what_is_not_told_is_left_unless_told_to() {
        assert_eq!(
            connect(&untold(), OURS, None, OnConflict::Refuse),
            Step::LeaveUntold
        );
        let step = Step::Set(kept(Before::Untold, &[OURS]));
        assert_eq!(connect(&untold(), OURS, None, OnConflict::Replace), step);
    }

    #[test]
    fn only_ours_is_put_back() {
        assert_eq!(
            remove(&url(OURS), OURS, Some(&kept_foreign())),
            Back::Put(Some(FOREIGN.to_owned()))
        );
        assert_eq!(
            remove(&url(OURS), OURS, Some(&kept(Before::Nothing, &[OURS]))),
            Back::Put(None)
        );
        let moved = kept(Before::Url(FOREIGN.to_owned()), &[EARLIER]);
        assert_eq!(
            remove(&url(EARLIER), OURS, Some(&moved)),
            Back::Put(Some(FOREIGN.to_owned()))
        );
        for seen in [
            url(FOREIGN),
            url("https://other.example/hook"),
            Seen::Nothing,
        ] {
            assert_eq!(remove(&seen, OURS, Some(&kept_foreign())), Back::NotOurs);
            assert_eq!(remove(&seen, OURS, None), Back::NotOurs);
        }
    }

    #[test]
    fn what_was_not_kept_cannot_be_put_back() {
        assert_eq!(remove(&url(OURS), OURS, None), Back::NothingKept);
        assert_eq!(
            remove(&url(OURS), OURS, Some(&kept(Before::Untold, &[OURS]))),
            Back::Untold
        );
        assert_eq!(remove(&untold(), OURS, Some(&kept_foreign())), Back::Untold);
        assert_eq!(remove(&untold(), OURS, None), Back::NotOurs);
    }

    #[test]
    fn connecting_twice_and_removing_comes_back_to_the_start() {
        for (start, back) in [
            (url(FOREIGN), Some(FOREIGN.to_owned())),
            (Seen::Nothing, None),
        ] {
            let Step::Set(first) = connect(&start, OURS, None, OnConflict::Replace) else {
                panic!("{start:?}")
            };
            assert_eq!(
                connect(&url(OURS), OURS, Some(&first), OnConflict::Replace),
                Step::IsOurs
            );
            // Cut off between keeping and setting, and done again.
            assert_eq!(
                connect(&start, OURS, Some(&first), OnConflict::Replace),
                Step::Set(first.clone())
            );
            assert_eq!(remove(&url(OURS), OURS, Some(&first)), Back::Put(back));
            assert_eq!(remove(&start, OURS, Some(&first)), Back::NotOurs);
        }
    }
}
