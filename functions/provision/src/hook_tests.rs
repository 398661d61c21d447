use onboarding::fact::{Fact, Source};

use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<MessagingSettings, SettingError> {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    MessagingSettings::from_env(&variables.collect())
}

#[test]
fn a_malformed_setting_is_named() {
    assert!(settings(&[]).unwrap().url.is_none());
    for (name, value) in [
        ("MESSAGING_WEBHOOK_URL", "app.example"),
        ("MESSAGING_WEBHOOK_PATH", "v1"),
        ("MESSAGING_ORIGINS", "https://a.example/"),
        ("MESSAGING_ORIGINS", ","),
    ] {
        let error = settings(&[(name, value)]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{name} is malformed")),
            "{error}"
        );
    }
}

#[test]
fn a_key_without_an_id_is_named_by_the_time_it_was_stored() {
    let key = |key_id: Option<&str>| StoredKey {
        sealed: Vec::new(),
        key_id: key_id.map(str::to_owned),
        address: None,
        stored_at: Timestamp::from_millisecond(1234).unwrap(),
    };
    assert_eq!(name(&key(Some("7"))), "7");
    assert_eq!(name(&key(None)), "1234");
}

#[test]
fn a_refusal_is_told_and_silence_is_not() {
    let is_refused = |why| matches!(Outcome::from(why), Outcome::Refused(..));
    for kind in [
        ErrorKind::BadCredentials,
        ErrorKind::NotPermitted,
        ErrorKind::NotFound,
        ErrorKind::Status(307),
        ErrorKind::Status(422),
    ] {
        assert!(is_refused(MessagingError::NotSet(kind)), "{kind:?}");
    }
    for kind in [
        ErrorKind::Silent,
        ErrorKind::RateLimited(None),
        ErrorKind::Status(408),
        ErrorKind::Status(500),
        ErrorKind::Status(503),
    ] {
        assert!(!is_refused(MessagingError::NotSet(kind)), "{kind:?}");
    }
}

#[test]
fn a_foreign_address_waits_for_a_day() {
    let foreign = MessagingError::ForeignAddress("https://evil.example".to_owned());
    let Outcome::Refused(words, LONGEST_PAUSE) = Outcome::from(foreign) else {
        panic!("it is refused for a day")
    };
    assert!(words.ends_with("https://evil.example"), "{words}");
}

#[test]
fn what_was_told_last_counts_before_the_channel_shows_it() {
    let id = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
    let fact = |state, second| {
        let assertion = Assertion {
            messaging_webhook: Some(state),
            ..Assertion::default()
        };
        let at = Timestamp::from_second(second).unwrap();
        Fact::new(id.clone(), Source::Provision, assertion, at, "")
    };
    let shown = |facts: &[Fact]| {
        let mut channel = Channel::unknown(id.clone());
        channel.join_all(facts);
        channel
    };
    let [set, waiting, again] = [(State::Set, 1), (State::Waiting, 2), (State::Set, 3)]
        .map(|(state, second)| fact(state, second));
    let mut hook = Hook::default();
    hook.told = shown(std::slice::from_ref(&waiting)).messaging_webhook;
    for (facts, state) in [
        (vec![], State::Waiting),
        (vec![set.clone()], State::Waiting),
        (vec![set, waiting, again], State::Set),
    ] {
        let mut known = shown(&facts);
        show_told(&mut known, &hook);
        assert_eq!(known.messaging_webhook.map(|it| it.value), Some(state));
    }
}
