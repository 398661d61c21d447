//! The arguments that are taken and refused.

use clap::CommandFactory;

use super::*;

fn action(arguments: &[&str]) -> Result<Action, String> {
    let all = ["operator", "connect"].iter().chain(arguments);
    let parsed = Arguments::try_parse_from(all).map_err(|error| error.to_string())?;
    let Command::Connect(arguments) = parsed.command else {
        return Err("another command".to_owned());
    };
    Ok(arguments.action())
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn without_an_option_everything_is_listed_and_at_most_one_is_allowed() {
    let lists = |arguments: &[&str]| {
        let all = ["operator", "list", "aPA"].iter().chain(arguments);
        match Arguments::try_parse_from(all).map(|parsed| parsed.command) {
            Ok(Command::List(arguments)) => Some(arguments.only.lists()),
            _ => None,
        }
    };
    assert_eq!(lists(&[]), Some(List::ALL.to_vec()));
    assert_eq!(
        lists(&["--blocked", "--stack", "mine"]),
        Some(vec![List::Blocked])
    );
    assert_eq!(lists(&["--blocked", "--held"]), None);
}

#[test]
fn a_channel_or_all_of_them_are_refolded() {
    for (arguments, is_fine) in [
        (&["aPA", "aCH"] as &[&str], true),
        (&["aPA", "--all"], true),
        (&["aPA", "aCH", "--all"], false),
        (&["aPA"], false),
    ] {
        let all = ["operator", "refold"].iter().chain(arguments);
        assert_eq!(
            Arguments::try_parse_from(all).is_ok(),
            is_fine,
            "{arguments:?}"
        );
    }
}

#[test]
fn one_dead_event_or_all_of_them_are_tried_again() {
    for (arguments, retry) in [
        (&["aPA"] as &[&str], None),
        (&["aPA", "--retry"], Some(Retry::All)),
        (&["aPA", "--retry", "--stack", "s"], Some(Retry::All)),
        (
            &["aPA", "--retry", "x/1"],
            Some(Retry::One("x/1".to_owned())),
        ),
    ] {
        let all = ["operator", "dead"].iter().chain(arguments);
        match Arguments::try_parse_from(all).map(|parsed| parsed.command) {
            Ok(Command::Dead(arguments)) => assert_eq!(arguments.retry(), retry),
            _ => panic!("{arguments:?}"),
        }
    }
}

#[test]
fn by_default_foreign_addresses_stay_and_keys_are_listed() {
    assert_eq!(
        action(&[]),
        Ok(Action::Connect(OnConflict::Refuse, Keys::List))
    );
    assert_eq!(
        action(&["--stack", "mine"]),
        Ok(Action::Connect(OnConflict::Refuse, Keys::List))
    );
    assert_eq!(
        action(&["--replace", "--no-list"]),
        Ok(Action::Connect(OnConflict::Replace, Keys::Skip))
    );
    assert_eq!(
        action(&["--check", "--partner", "aPA", "--partner", "bPA"]),
        Ok(Action::Check)
    );
    assert_eq!(
        action(&["--remove", "--url", "http://127.0.0.1:8360"]),
        Ok(Action::Remove)
    );
}

#[test]
fn contradictory_arguments_are_refused() {
    for arguments in [
        &["--check", "--replace"] as &[&str],
        &["--check", "--remove"],
        &["--remove", "--replace"],
        &["--stack", "s", "--url", "http://127.0.0.1"],
        &["--url", "here"],
        &["--partner", "a b"],
    ] {
        assert!(action(arguments).is_err(), "{arguments:?}");
    }
}
