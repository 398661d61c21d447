//! The list of a tenant's channels.

use serde_json::json;
use tests::partner_api::{NUMBER, SimulatedPartnerApi, claim};
use tests::{Ask, Bundle, PARTNER, text};

#[tokio::test]
async fn pages_of_any_length_list_every_number_once() {
    let bundle = Bundle::start().await;
    let numbers = ["aCH", "bCH", "cCH"];
    let choice = json!({"client": "aCL", "channels": numbers});
    bundle.onboard(PARTNER, "acme", choice).await;
    let choice = json!({"client": "bCL", "channels": ["foreignCH"]});
    bundle.onboard(PARTNER, "globex", choice).await;
    for number in numbers {
        bundle.stored(PARTNER, "acme", number).await;
    }
    bundle.stored(PARTNER, "globex", "foreignCH").await;
    for claimed in ["AghostCH,bCH", "zghostCH,AghostCH"] {
        claim(&bundle, PARTNER, claimed).await;
    }
    for limit in 1..=6 {
        let listed = every_page(&bundle, limit).await;
        let wanted = ["aCH", "bCH", "cCH", "AghostCH", "zghostCH"];
        assert_eq!(listed, wanted, "limit {limit}");
    }
}

async fn every_page(bundle: &Bundle, limit: usize) -> Vec<String> {
    let (mut listed, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/{PARTNER}/channels?limit={limit}&cursor={next}");
        let page = bundle.get("acme", &path).ask().await.is(200).json();
        let rows = page["channels"].as_array().expect("a list");
        assert!(rows.len() <= limit, "{page}");
        listed.extend(rows.iter().map(|row| text(&row["id"]).to_owned()));
        match page["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => return listed,
        }
        assert!(listed.len() < 20, "it does not end: {listed:?}");
    }
}

#[tokio::test]
async fn a_claimed_number_is_seen_at_any_time_until_its_key_is_stored() {
    let (_api, bundle) = SimulatedPartnerApi::with_new(NUMBER).await;
    claim(&bundle, PARTNER, NUMBER).await;
    loop {
        let seen = bundle.channel(PARTNER, "acme", NUMBER).await;
        let seen = seen.expect("it is claimed or confirmed");
        assert_ne!(seen["key"]["status"], "none", "{seen}");
        if seen["key"]["status"] == "stored" {
            break;
        }
    }
    assert_eq!(bundle.channels(PARTNER, "acme").await.len(), 1);
}
