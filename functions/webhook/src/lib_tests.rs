use std::future::pending;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use dialog360::secret::Secret;
use dialog360::webhook::sign_webhook;
use runtime::secrets::{SecretSource, SecretUnavailable};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;

/// How long 360dialog waits for an answer.
const DIALOG360_TIMEOUT: Duration = Duration::from_secs(5);

enum Secrets {
    Read,
    Silent,
}

#[async_trait]
impl SecretSource for Secrets {
    async fn read(&self, _: &PartnerId) -> Result<Secret, SecretUnavailable> {
        match self {
            Self::Read => Ok(Secret::new(
                json!({"platform_secret": "secret"}).to_string(),
            )),
            Self::Silent => pending().await,
        }
    }
}

/// The status of the answer to a valid event if DynamoDB accepts connections and never answers.
async fn status_with_silent_table(secrets: Secrets) -> u16 {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let variables = [
        ("TABLE_NAME", "t"),
        ("BODIES_TABLE_NAME", "b"),
        ("PARTNER_IDS", "aPA"),
    ];
    let environment: Environment = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let table = runtime::aws::local::table(&endpoint, "t");
    let routes = routes(Webhook {
        settings: Settings::from_env(&environment).unwrap(),
        events: Events::new(table.clone(), table),
        secrets: PartnerSecrets::new(Arc::new(secrets)),
    });
    let event =
        json!({"id": "b1", "event": "channel_running", "data": {"id": "oneCH"}}).to_string();
    let signature = sign_webhook(&Secret::new("secret"), event.as_bytes());
    let request = Request::post("/aPA/webhook")
        .header(SIGNATURE_HEADER, signature)
        .body(Body::from(event));
    routes
        .oneshot(request.unwrap())
        .await
        .unwrap()
        .status()
        .as_u16()
}

// The clock is paused, and jumps only while all tasks wait, so no real time is measured.
#[tokio::test(start_paused = true)]
async fn a_webhook_is_answered_503_before_360dialog_gives_up() {
    for secrets in [Secrets::Read, Secrets::Silent] {
        let begun = Instant::now();
        assert_eq!(status_with_silent_table(secrets).await, 503);
        assert!(begun.elapsed() < DIALOG360_TIMEOUT, "{:?}", begun.elapsed());
    }
}
