//! What takes longer than the gate may: `make soak`.

use super::sign::flood;

/// I3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_across_a_kill_never_get_the_same_second() {
    flood(10_000).await;
}
