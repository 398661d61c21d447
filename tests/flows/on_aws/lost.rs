//! Records of the stream that get lost: what they would have made due is done all the same.

use serde_json::json;
use tests::partner_api::CLIENT;

use crate::everywhere::found::{
    Records, by_a_bound_client, by_a_claimed_client, by_the_look, by_the_sweep,
};

const LATER: Records = Records::AreLost("laterCH");

/// I13
#[tokio::test]
async fn the_record_of_a_claim() {
    by_the_look(Records::AreLost("CLAIM#")).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_a_look_has_found() {
    by_the_look(Records::AreLost("CHANNEL#aAbBcCPA#oneCH")).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_whose_client_has_an_owner() {
    by_a_bound_client(LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_whose_client_is_claimed() {
    by_a_claimed_client(json!({"id": "laterCH", "client_id": CLIENT}), LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_a_claim_names() {
    by_a_claimed_client(json!({"id": "laterCH"}), LATER).await;
}

/// I13
#[tokio::test]
async fn the_records_of_a_number_that_the_sweep_has_found() {
    by_the_sweep(LATER).await;
}
