//! Logins for tokens, keys under their other name, and 360dialog's answers as an operator reads them.

use std::collections::BTreeSet;
use std::time::Duration;

use onboarding::queue::Stop;
use runtime::clock;
use serde_json::{Value, json};
use store::Works;
use tests::aws::stack::STACK;
use tests::partner_api::{CLIENT, HOUR, NUMBER, SimulatedPartnerApi, answer, claim, new_channel};
use tests::{Bundle, PARTNER, Secrets, id, is_on_aws, until, until_seen};

/// I7
#[tokio::test]
async fn a_new_key_under_its_other_name_is_asked_for_once_and_stored() {
    let (api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    api.replies("new_key", json!({"form": "key"})).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    api.has_live_key(&bundle, NUMBER).await;
    bundle.scan_when_quiet().await;
    assert_eq!(api.posts(NUMBER).await, 1);
}

#[tokio::test]
async fn numbers_that_come_at_once_share_one_login() {
    let api = SimulatedPartnerApi::start_as(Secrets::with_login(), HOUR).await;
    // Time for the others to come meanwhile.
    api.replies("token", json!({"delay_ms": 500})).await;
    let bundle = api.bundle(&[]).await;
    let numbers = add_numbers(&api, 6).await;
    for number in &numbers {
        claim(&bundle, PARTNER, number).await;
    }
    all_have_live_keys(&api, &bundle, &numbers).await;
    let logins = api.asked("token").await;
    assert!((1..=processes()).contains(&logins), "{logins}");
    assert_eq!(api.calls("").await.iter().filter(is_refused).count(), 0);
}

/// I6, I7
#[tokio::test]
async fn tokens_that_expire_or_are_refused_are_renewed_and_no_key_is_lost_or_made_twice() {
    let life = Duration::from_secs(2);
    let api = SimulatedPartnerApi::start_as(Secrets::with_login(), life).await;
    let refused = ["channels", "keys", "new_key"];
    for call in refused {
        let once = json!({"answer": {"status": 401}, "times": 1, "skip": 1});
        api.replies(call, once).await;
    }
    let bundle = api.bundle(&[]).await;
    let mut numbers = add_numbers(&api, 6).await;
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    // More than each process and each refusal needs: the others are for tokens that expired.
    let enough = processes() + refused.len() + 2;
    // Else one look would settle the next claim, too, and no second one be refused.
    for number in &numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    loop {
        let number = format!("n{}CH", numbers.len());
        api.adds(new_channel(&number)).await;
        claim(&bundle, PARTNER, &number).await;
        bundle.stored(PARTNER, "acme", &number).await;
        numbers.push(number);
        if api.asked("token").await >= enough {
            break;
        }
    }
    all_have_live_keys(&api, &bundle, &numbers).await;

    let is_told = bundle.log().contains("refuses the partner's credentials");
    assert!(!is_told, "a refused token is no refusal of the credentials");
    let calls = api.calls("").await;
    let is_login = |call: &&Value| call["call"] == "token" && call["status"] == 200;
    let logins = calls.iter().filter(is_login).count();
    let tokens = calls.iter().filter_map(|call| call["digest"].as_str());
    let tokens: BTreeSet<&str> = tokens.collect();
    assert_eq!(tokens.len(), logins, "no login was in vain");
    let is_again = |call: &Value, refused: &Value| {
        let is_same = ["method", "path", "query"].map(|it| call[it] == refused[it]) == [true; 3];
        is_same && call["digest"] != refused["digest"] && !is_refused(&call)
    };
    for (index, refused) in calls.iter().enumerate().filter(|(_, it)| is_refused(it)) {
        let mut later = calls[index..].iter();
        assert!(later.any(|call| is_again(call, refused)), "{refused}");
    }
    let is_post = |call: &&Value| call["call"] == "new_key" && !is_refused(call);
    assert_eq!(calls.iter().filter(is_post).count(), numbers.len());
    for call in refused {
        let mut all = calls.iter().filter(is_refused);
        assert!(all.any(|it| it["call"] == call), "{call}");
    }
}

#[tokio::test]
async fn a_refused_login_is_not_repeated_for_every_number_and_heals_with_the_secret() {
    let api = SimulatedPartnerApi::start_as(Secrets::with_login(), HOUR).await;
    api.adds(new_channel(NUMBER)).await;
    let mut bundle = api.bundle(&[]).await;
    claim(&bundle, PARTNER, NUMBER).await;
    bundle.stored(PARTNER, "acme", NUMBER).await;
    bundle.scan_when_quiet().await;

    let mut wrong = bundle.secrets.file.clone();
    wrong[PARTNER]["password"] = json!("needle-wrong-password");
    bundle.keep_partner_secrets(&wrong);
    bundle.kill_and_restart().await;
    api.forgets_calls().await;
    for claimed in ["claimedCH", "otherCH"] {
        claim(&bundle, PARTNER, claimed).await;
    }
    let stopped = async || {
        let works = Works::new(bundle.table().await);
        let work = works.inspect(&id(PARTNER)).await.expect("a read").work;
        work.circuit.stopped(clock::now()).map(|(_, why)| why)
    };
    until_seen(stopped, |why| *why == Some(Stop::BadCredentials)).await;
    // Who comes now is told, and nobody asks again.
    let numbers = add_numbers(&api, 3).await;
    for number in &numbers {
        for event in ["channel_running", "channel_permission_granted"] {
            let data = json!({"id": number, "client_id": CLIENT});
            let event = json!({"event": event, "data": data}).to_string();
            bundle.webhook(PARTNER, &event).await.is(200);
        }
    }
    for number in &numbers {
        bundle.key_is(number, "waiting", "bad_credentials").await;
    }
    let calls = api.calls("").await;
    assert!((1..=processes()).contains(&calls.len()), "{calls:#?}");
    let is_refused_login = |call: &Value| call["call"] == "token" && is_refused(&call);
    assert!(calls.iter().all(is_refused_login), "{calls:#?}");

    bundle.keep_partner_secrets(&bundle.secrets.file);
    bundle.kill_and_restart().await;
    bundle.waits_are_over().await;
    all_have_live_keys(&api, &bundle, &numbers).await;
}

/// I8
#[tokio::test]
async fn the_operator_reads_360dialog_s_last_answer_and_the_log_does_not_hold_it() {
    let api = SimulatedPartnerApi::start().await;
    let long = format!("told {}", "x".repeat(400));
    let message = format!("needle-token-direct-0002 is\r\u{1b}[31m {long}");
    let shown = format!("[redacted] is\u{fffd}\u{fffd}[31m {long}");
    let shown: String = shown.chars().take(300).collect();
    let forbidden = json!({"meta": {"success": false, "developer_message": message}});
    let oauth = json!({"error": "invalid_scope", "error_description": "told of a scope"});
    let silence = json!({"answer": "silence"});
    let said = [
        (
            "new_key",
            answer(403, forbidden),
            format!("a new key: status 403: {shown}"),
        ),
        (
            "keys",
            answer(400, oauth),
            "the list of keys: 360dialog answered with status 400: told of a scope".to_owned(),
        ),
        (
            "new_key",
            answer(201, json!({})),
            "a new key: status 201: no readable key".to_owned(),
        ),
        ("new_key", silence, "a new key: no answer".to_owned()),
    ];
    let numbers = add_numbers(&api, said.len()).await;
    for (number, (call, fault, _)) in numbers.iter().zip(&said) {
        let mut fault = fault.clone();
        fault["channel"] = json!(number);
        api.replies(call, fault).await;
    }
    let bundle = api.bundle(&[]).await;
    if is_on_aws() {
        bundle.aws().deploy(STACK, &[]);
    }
    claim(&bundle, PARTNER, &numbers.join(",")).await;
    for (number, (.., words)) in numbers.iter().zip(&said) {
        until(|| async {
            let (_, story) = bundle.operator(STACK, &["why", PARTNER, number]).await;
            let mut lines = story.lines().filter(|line| line.contains("  last answer "));
            let is_told = lines.any(|line| line.ends_with(&format!("Z  {words}")));
            is_told.then_some(()).ok_or(story)
        })
        .await;
    }
    assert!(!bundle.log().contains("told "), "a message is logged");
}

/// How many processes log in on their own: on AWS as many as there may be invocations of `provision` at once.
fn processes() -> usize {
    if is_on_aws() { 2 } else { 1 }
}

fn is_refused(call: &&Value) -> bool {
    call["status"] == 401
}

/// New channels `n0CH` and so on.
async fn add_numbers(api: &SimulatedPartnerApi, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|index| format!("n{index}CH")).collect();
    for number in &numbers {
        api.adds(new_channel(number)).await;
    }
    numbers
}

async fn all_have_live_keys(api: &SimulatedPartnerApi, bundle: &Bundle, numbers: &[String]) {
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.scan_when_quiet().await;
    for number in numbers {
        api.has_live_key(bundle, number).await;
    }
}
