//! `fold`, which may be cut at any moment, too; and a bus that does not take events, which holds up nothing.

use dialog360::event::EventId;
use store::Channels;
use store::table::Item;
use tests::aws::calls::{Fault, Harm, Service};
use tests::{Bundle, PARTNER, channel_ref, pk, until, until_so};

use crate::everywhere::large_events::{CHAT, history, kept, post};

use super::provision::{KILLED_AFTER, QUICK, REFUSED};
use super::provision::{calls_go_wrong, channel, has_the_live_key, onboard, tag};

/// I4, I7
#[tokio::test]
async fn killed_after_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER.of_fold(), (1..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn killed_after_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(KILLED_AFTER.of_fold(), (2..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn refused_at_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED.of_fold(), (1..).step_by(2)).await;
}

/// I4, I7
#[tokio::test]
async fn refused_at_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored() {
    calls_go_wrong(REFUSED.of_fold(), (2..).step_by(2)).await;
}

/// I1
#[tokio::test]
async fn a_bus_that_refuses_holds_up_nothing_and_gets_every_event_later() {
    the_bus_is_away(&[Harm::Fail, Harm::Throttle]).await;
}

/// I1
#[tokio::test]
async fn a_bus_that_is_silent_holds_up_nothing_and_gets_every_event_later() {
    the_bus_is_away(&[Harm::Silence]).await;
}

async fn the_bus_is_away(harms: &[Harm]) {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    for harm in harms {
        let id = format!("{harm:?}");
        calls.hurt(Fault::of("fold", *harm).at(Service::EventBridge));
        onboard(&bundle, "acme", &id).await;
        has_the_live_key(&bundle, "acme", &id).await;
        let number = channel(&id);
        assert!(!is_published(&bundle, &number), "{id}");
        until(|| async {
            has_waiting(&bundle, &number)
                .await
                .then_some(())
                .ok_or(id.clone())
        })
        .await;

        calls.heal();
        until_so(&id, || is_published(&bundle, &number)).await;
        until(|| async {
            let left = waiting(&bundle, "OUTBOX#").await;
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        })
        .await;
    }
    assert!(waiting(&bundle, "DEAD#").await.is_empty());
}

/// I1, I8
#[tokio::test]
async fn chats_that_the_bus_refuses_wait_without_their_body() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    calls.hurt(Fault::of("fold", Harm::Fail).at(Service::EventBridge));
    let chats = history(100 * 1024);
    post(&bundle, &chats).await.is(200);
    let event = EventId::hash(&chats).to_string();
    until(|| async {
        let has = has_waiting(&bundle, &event).await;
        has.then_some(()).ok_or("nothing waits".to_owned())
    })
    .await;
    for item in bundle.items().await {
        assert!(!format!("{item:?}").contains(CHAT), "{item:?}");
    }
    calls.heal();
    until_so("the event", || is_published(&bundle, &event)).await;
    assert!(!is_published(&bundle, CHAT));
    assert!(kept(&bundle, &chats).await.as_deref() == Some(&*chats));
}

/// I1
#[tokio::test]
async fn facts_are_joined_and_events_published_while_large_bodies_cannot_be_read() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    let bodies = Fault::of("fold", Harm::Fail)
        .asking("GetItem")
        .about("BODY#");
    let bodies = calls.hurt(bodies);
    let padding = "x".repeat(100 * 1024);
    let event = format!(
        r#"{{"event":"channel_live","data":{{"id":"oneCH","client_id":"aCL","x":"{padding}"}}}}"#
    );
    post(&bundle, event.as_bytes()).await.is(200);
    let event = EventId::hash(event.as_bytes()).to_string();
    until_so("the event", || is_published(&bundle, &event)).await;
    assert!(!is_published(&bundle, &padding) && calls.hits(bodies) > 0);
    let channel = Channels::new(bundle.table().await);
    until(|| async {
        let stored = channel.read(&channel_ref(PARTNER, "oneCH")).await;
        let stage = stored.expect("a read").channel.stage();
        stage.map(drop).ok_or("no stage".to_owned())
    })
    .await;
}

/// I1
#[tokio::test]
async fn an_event_that_the_bus_does_not_take_for_a_day_is_given_up_and_kept() {
    let bundle = Bundle::start_with(&[QUICK]).await;
    let calls = &bundle.aws().calls;
    calls.hurt(Fault::of("fold", Harm::Fail).at(Service::EventBridge));
    bundle.event("channel_running", &channel("old")).await;
    bundle.event("channel_running", &channel("young")).await;
    let tags = [tag("old"), tag("young")];
    for tag in &tags {
        until(|| async {
            has_waiting(&bundle, tag)
                .await
                .then_some(())
                .ok_or(tag.clone())
        })
        .await;
    }
    for item in bundle.items().await {
        if pk(&item).starts_with("OUTBOX#") && text_of(&item).contains(&tags[0]) {
            bundle.put_back_a_day(&item, "put_at").await;
        }
    }
    let given_up = until(|| async {
        let dead = waiting(&bundle, "DEAD#").await;
        (!dead.is_empty()).then_some(dead).ok_or("none".to_owned())
    })
    .await;
    assert_eq!(given_up.len(), 1);
    assert!(given_up[0].contains(&tags[0]), "{given_up:?}");
    let items = bundle.items().await;
    let mut dead = items.iter().filter(|item| pk(item).starts_with("DEAD#"));
    let why = dead.next().and_then(|item| item["why"].as_s().ok());
    assert!(why.is_some_and(|why| !why.is_empty()), "{why:?}");
    calls.heal();
    until_so("the young one", || is_published(&bundle, &tags[1])).await;
    assert!(!is_published(&bundle, &tags[0]));
}

/// Whether the bus has taken an event about a number.
fn is_published(bundle: &Bundle, about: &str) -> bool {
    let events = bundle.aws().calls.events();
    events.iter().any(|event| event.to_string().contains(about))
}

async fn has_waiting(bundle: &Bundle, about: &str) -> bool {
    let waiting = waiting(bundle, "OUTBOX#").await;
    waiting.iter().any(|event| event.contains(about))
}

/// The details of the events in items of one kind.
async fn waiting(bundle: &Bundle, kind: &str) -> Vec<String> {
    let items = bundle.items().await;
    let of_kind = items.iter().filter(|item| pk(item).starts_with(kind));
    of_kind.map(text_of).collect()
}

fn text_of(item: &Item) -> String {
    item["detail"].as_s().expect("a detail").clone()
}

/// The other calls.
mod soak {
    use super::super::provision::{KILLED_BEFORE, calls_go_wrong};

    /// I4, I7
    #[tokio::test]
    async fn killed_before_the_first_call_of_fold_and_every_other_it_ends_with_the_live_key_stored()
    {
        calls_go_wrong(KILLED_BEFORE.of_fold(), (1..).step_by(2)).await;
    }

    /// I4, I7
    #[tokio::test]
    async fn killed_before_the_second_call_of_fold_and_every_other_it_ends_with_the_live_key_stored()
     {
        calls_go_wrong(KILLED_BEFORE.of_fold(), (2..).step_by(2)).await;
    }
}
