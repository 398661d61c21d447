//! Lets the SDK use the HTTP client that everything else uses. The SDK's own client would add 0.4 MB to each program,
//! with HTTP/2, which no service used here speaks.
//!
//! The client may normalize an address, which would break signatures. It changes none of ours: each is a host in lower
//! case and `/`.

use std::error::Error;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use axum::http::Response;

/// An HTTP client for the SDK. The SDK enforces its time-outs, `client` that for opening a connection.
pub(crate) fn from_client(client: reqwest::Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(client));
    http_client_fn(move |_, _| connector.clone())
}

/// A client for an endpoint on this machine.
pub(crate) fn without_tls() -> SharedHttpClient {
    #[expect(clippy::expect_used, reason = "no option of it can fail")]
    from_client(
        reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .build()
            .expect("a client"),
    )
}

/// Three attempts. Connections are reused after a 5xx: the SDK could close them only with its own connector, and without
/// that it would log an error at every such answer.
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
                .map_err(user_error)?
                .map(reqwest::Body::wrap);
            let request = reqwest::Request::try_from(request).map_err(user_error)?;
            let response = client.execute(request).await.map_err(call_error)?;
            let response = Response::from(response).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn user_error(error: impl Into<Box<dyn Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// The error of a call without an answer; the SDK retries it unless the request itself is wrong.
fn call_error(error: reqwest::Error) -> ConnectorError {
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
    const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";

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

    // No paused clock: it would jump to the SDK's time-outs while bytes are in flight.
    #[tokio::test]
    async fn a_call_is_retried_if_its_connection_breaks() {
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
    async fn a_5xx_is_retried_on_the_same_connection_without_a_warning() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (sender, lines) = channel();
        let _until_the_end =
            tracing::subscriber::set_default(Registry::default().with(Lines(sender)));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in [UNAVAILABLE, UNAVAILABLE, NO_ITEMS] {
                one_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        assert!(tokio::join!(scanned(&listener), server).0);
        let warnings: Vec<Level> = lines
            .try_iter()
            .filter(|level| *level <= Level::WARN)
            .collect();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    /// The level of every line that is written.
    struct Lines(Sender<Level>);

    impl Layer<Registry> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
            self.0.send(*event.metadata().level()).unwrap();
        }
    }
}
