//! Tokens for a username and password.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fixture, PARTNER, PASSWORD, TOKEN, USERNAME};

async fn log_in(fixture: &Fixture, password: &str) -> (u16, Value) {
    let login = json!({"username": USERNAME, "password": password});
    fixture.post("/api/v2/token", &login).await
}

async fn status_with(fixture: &Fixture, token: &str) -> u16 {
    let path = format!("/partners/{PARTNER}/channels");
    let request = fixture.api(Method::GET, &path).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_issued_token_is_accepted_beside_the_static_one_and_by_no_other_partner() {
    let fixture = Fixture::with_settings(|settings| {
        let mut other = settings.partners[0].clone();
        other.id = "otherPA".into();
        other.access.truncate(1);
        settings.partners.push(other);
    })
    .await;
    let (status, answer) = log_in(&fixture, PASSWORD).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3600);
    assert!(answer["refresh_token"].is_string());
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(status_with(&fixture, token).await, 200);
    assert_eq!(status_with(&fixture, TOKEN).await, 200);
    let others = fixture.api(Method::GET, "/partners/otherPA/channels");
    let status = others.bearer_auth(token).send().await.unwrap().status();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused() {
    let fixture = Fixture::with_settings(|settings| settings.token_lifetime = Duration::ZERO).await;
    let (_, answer) = log_in(&fixture, PASSWORD).await;
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(status_with(&fixture, token).await, 401);
}

#[tokio::test]
async fn a_wrong_login_is_refused_in_the_form_of_oauth() {
    let fixture = Fixture::new().await;
    let (status, error) = log_in(&fixture, "wrong").await;
    assert_eq!((status, &error["error"]), (401, &json!("invalid_grant")));
    assert!(error["error_description"].is_string());
    let (status, error) = fixture.post("/api/v2/token", &json!({})).await;
    assert_eq!((status, &error["error"]), (400, &json!("invalid_request")));
}
