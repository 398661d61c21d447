//! A large event whose bundle is killed while it is written.

use std::time::Duration;

use embedded::settings::BODIES_TABLE;
use tests::PARTNER;

use crate::everywhere::large_events::{kept, noise, post};

/// I1, I7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_killed_between_two_parts_keeps_the_event_once_and_whole_when_it_comes_again()
 {
    let mut bundle = super::start().await;
    for (round, killed_at) in [0, 1, 2, 3, 4].into_iter().enumerate() {
        let body = noise(5 * 256 * 1024 - round);
        let written = bundle.table().await.beside(BODIES_TABLE);
        let before = written.scan().await.expect("a scan").len();
        let (url, sent) = (bundle.url.clone(), body.clone());
        let signature = tests::hmac_sha256(bundle.secrets.platform_secret(PARTNER), &body);
        let http = bundle.http.clone();
        let sending = tokio::spawn(async move {
            let request = http.post(format!("{url}/{PARTNER}/webhook")).body(sent);
            let request = request.header("x-360dialog-signature", signature);
            request
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        });
        while written.count().await.expect("a count") < before + killed_at && !sending.is_finished()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bundle.kill_and_restart().await;
        let is_answered = sending.await.expect("no panic");
        let at_once = kept(&bundle, &body).await;
        // What is there is whole, and what was answered is there.
        assert!(at_once.is_none_or(|kept| kept == body), "{killed_at}");
        assert!(!is_answered || kept(&bundle, &body).await.is_some());
        post(&bundle, &body).await.is(200);
        assert!(kept(&bundle, &body).await.as_deref() == Some(&*body));
        let parts = bundle.table().await.beside(BODIES_TABLE);
        assert_eq!(parts.count().await.expect("a count") - before, 5);
    }
}
