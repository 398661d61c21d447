//! The SDK's calls by the HTTP client that everything else uses: a second one in the program, with HTTP/2 in it that no
//! service of ours speaks, is a tenth of its size. The client may write an address anew, which signatures would not
//! survive; here each is a host and `/`.

use std::error::Error;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use axum::http::Response;

/// One client for all of the SDK's; its own time-outs are kept by the SDK, that of opening a connection by `client`.
pub(crate) fn by(client: reqwest::Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(client));
    http_client_fn(move |_, _| connector.clone())
}

/// A client for an endpoint on this machine.
pub(crate) fn without_tls() -> SharedHttpClient {
    #[expect(clippy::expect_used, reason = "nothing that could fail is asked of it")]
    by(reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client"))
}

#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(user)?.map(reqwest::Body::wrap);
            let request = reqwest::Request::try_from(request).map_err(user)?;
            let response = client.execute(request).await.map_err(failed)?;
            let response = Response::from(response).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::table::Table;

    const NO_ITEMS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"Items\":[]}";

    // The clock stands still but when everybody waits, and then goes on at once.
    #[tokio::test(start_paused = true)]
    async fn a_call_whose_connection_breaks_is_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut broken, _) = listener.accept().await.unwrap();
            assert!(broken.read(&mut [0; 4096]).await.unwrap() > 0);
            drop(broken);
            let (mut good, _) = listener.accept().await.unwrap();
            assert!(good.read(&mut [0; 4096]).await.unwrap() > 0);
            good.write_all(NO_ITEMS).await.unwrap();
        });
        assert!(Table::at_endpoint(&endpoint, "t").scan().await.unwrap().is_empty());
        server.await.unwrap();
    }
}
