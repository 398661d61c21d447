//! The SDK's calls by the HTTP client that everything else uses: a second one, with HTTP/2 in it that no service of
//! ours speaks, is 0.4 MB of each program.
//!
//! The client may write an address anew, which signatures would not survive. Here it has nothing to change: each is a host
//! in lower case and `/`.

use std::error::Error;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use axum::http::Response;

/// One client for all of the SDK's; its own time-outs are kept by the SDK, that of opening a connection by `client`.
pub(crate) fn by(client: reqwest::Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(client));
    http_client_fn(move |_, _| connector.clone())
}

/// A client for an endpoint on this machine.
pub(crate) fn without_tls() -> SharedHttpClient {
    #[expect(clippy::expect_used, reason = "nothing that could fail is asked of it")]
    by(reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .expect("a client"))
}

/// Three tries. A connection that brought a 5xx is used again: only the SDK's own connector hands it something to close
/// one by, and without that it would log an error with every such answer.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_reconnect_mode(ReconnectMode::ReuseAllConnections)
}

#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(user)?
                .map(reqwest::Body::wrap);
            let request = reqwest::Request::try_from(request).map_err(user)?;
            let response = client.execute(request).await.map_err(failed)?;
            let response = Response::from(response).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn user(error: impl Into<Box<dyn Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// Whatever kept an answer from coming is worth another try.
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_builder() {
        ConnectorError::user(error.into())
    } else if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use aws_sdk_dynamodb::Client;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tracing::Level;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use store::table::Table;

    use crate::aws::local::dynamodb_config;

    const NO_ITEMS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"Items\":[]}";
    const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";

    async fn scanned(listener: &TcpListener) -> bool {
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let soon = super::retries().with_initial_backoff(Duration::from_millis(1));
        let config = dynamodb_config(&endpoint).to_builder().retry_config(soon);
        Table::new(Client::from_conf(config.build()), "t")
            .scan()
            .await
            .unwrap()
            .is_empty()
    }

    async fn one_request(stream: &mut TcpStream) {
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    }

    // Not with a paused clock: it would run ahead, to the SDK's time-outs, while bytes are on their way.
    #[tokio::test]
    async fn a_call_whose_connection_breaks_is_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = async {
            one_request(&mut listener.accept().await.unwrap().0).await;
            let (mut good, _) = listener.accept().await.unwrap();
            one_request(&mut good).await;
            good.write_all(NO_ITEMS.as_bytes()).await.unwrap();
        };
        assert!(tokio::join!(scanned(&listener), server).0);
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_asked_again_and_nobody_is_alarmed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (sender, lines) = channel();
        let _until_the_end =
            tracing::subscriber::set_default(Registry::default().with(Lines(sender)));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in [AWAY, AWAY, NO_ITEMS] {
                one_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        assert!(tokio::join!(scanned(&listener), server).0);
        let alarming: Vec<Level> = lines
            .try_iter()
            .filter(|level| *level <= Level::WARN)
            .collect();
        assert!(alarming.is_empty(), "{alarming:?}");
    }

    /// The level of every line that is written.
    struct Lines(Sender<Level>);

    impl Layer<Registry> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
            self.0.send(*event.metadata().level()).unwrap();
        }
    }
}
