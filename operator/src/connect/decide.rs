//! Decides what to do with an address, by its value at 360dialog, our own, and the kept one. No I/O.

use std::collections::BTreeSet;

use store::{Before, KeptAddress};
use url::Url;

/// The value of an address at 360dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// 360dialog does not return it, for this reason.
    Unknown(String),
    /// No address is set.
    Nothing,
    /// This address.
    Url(String),
}

/// What to do with an address that somebody else has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave it, and change nothing else.
    Refuse,
    /// Keep it, and set ours in its place.
    Replace,
}

/// The step by which an address becomes ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is ours already.
    IsOurs,
    /// Keep this first, then set ours.
    Set(KeptAddress),
    /// Refuse: somebody else has set it.
    Refuse,
    /// Leave it: its value is not known, so it could not be put back. `--replace` sets ours.
    LeaveUnknown,
}

/// The step by which an address gets back its value of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// Set this address, or none.
    Put(Option<String>),
    /// It is not ours, so there is nothing to put back.
    NotOurs,
    /// It is ours, but nothing was kept.
    NothingKept,
    /// It is ours, or may be, and its value of before is not known.
    Unknown,
}

/// Decides how `seen` becomes `ours`.
///
/// A kept address is never one of our own. It is replaced only by another address that somebody else has set since.
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
        Seen::Unknown(_) if on_conflict == OnConflict::Refuse => return Step::LeaveUnknown,
        Seen::Url(url) => Some(Before::Url(url.clone())),
        Seen::Nothing | Seen::Unknown(_) => None,
    };
    let or_current = || kept.map_or_else(|| without_url(seen), |kept| kept.before.clone());
    let mut all_ours = kept.map_or_else(BTreeSet::new, |kept| kept.ours.clone());
    all_ours.insert(ours.to_owned());
    Step::Set(KeptAddress {
        before: before.unwrap_or_else(or_current),
        ours: all_ours,
    })
}

/// Decides how `seen` becomes the kept address.
pub(crate) fn remove(seen: &Seen, ours: &str, kept: Option<&KeptAddress>) -> Back {
    match (seen, kept) {
        (Seen::Url(url), None) if is_same(url, ours) => Back::NothingKept,
        (Seen::Url(url), Some(kept)) if is_same(url, ours) || was_ours(url, Some(kept)) => {
            match &kept.before {
                Before::Url(url) => Back::Put(Some(url.clone())),
                Before::Nothing => Back::Put(None),
                Before::Untold => Back::Unknown,
            }
        }
        (Seen::Unknown(_), Some(_)) => Back::Unknown,
        _ => Back::NotOurs,
    }
}

/// Whether two texts are the same address. The case of the host and a default port make no difference, the path does.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    match (Url::parse(a), Url::parse(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn was_ours(url: &str, kept: Option<&KeptAddress>) -> bool {
    kept.is_some_and(|kept| kept.ours.iter().any(|ours| is_same(url, ours)))
}

fn without_url(seen: &Seen) -> Before {
    if matches!(seen, Seen::Unknown(_)) {
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

    fn unknown() -> Seen {
        Seen::Unknown("HTTP 405".to_owned())
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
    fn an_unset_address_becomes_ours_and_its_absence_is_kept() {
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
    fn our_address_stays_whatever_is_kept() {
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
    fn a_foreign_address_is_replaced_only_on_demand_and_kept() {
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
    fn an_earlier_address_of_ours_is_replaced_and_never_kept() {
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
    fn a_kept_address_is_replaced_by_another_foreign_one_but_not_by_none() {
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
            connect(&unknown(), OURS, Some(&kept_foreign()), OnConflict::Replace),
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
    fn an_unknown_address_is_replaced_only_on_demand() {
        assert_eq!(
            connect(&unknown(), OURS, None, OnConflict::Refuse),
            Step::LeaveUnknown
        );
        let step = Step::Set(kept(Before::Untold, &[OURS]));
        assert_eq!(connect(&unknown(), OURS, None, OnConflict::Replace), step);
    }

    #[test]
    fn only_our_addresses_are_put_back() {
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
    fn an_address_that_was_not_kept_cannot_be_put_back() {
        assert_eq!(remove(&url(OURS), OURS, None), Back::NothingKept);
        assert_eq!(
            remove(&url(OURS), OURS, Some(&kept(Before::Untold, &[OURS]))),
            Back::Unknown
        );
        assert_eq!(
            remove(&unknown(), OURS, Some(&kept_foreign())),
            Back::Unknown
        );
        assert_eq!(remove(&unknown(), OURS, None), Back::NotOurs);
    }

    #[test]
    fn connecting_twice_and_removing_restores_the_start() {
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
            // The command was cut off between keeping and setting, and runs again.
            assert_eq!(
                connect(&start, OURS, Some(&first), OnConflict::Replace),
                Step::Set(first.clone())
            );
            assert_eq!(remove(&url(OURS), OURS, Some(&first)), Back::Put(back));
            assert_eq!(remove(&start, OURS, Some(&first)), Back::NotOurs);
        }
    }
}
