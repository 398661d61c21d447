//! AWS as the functions are measured against it: every call is answered at once with fixed JSON, so that no time is
//! DynamoDB's or Secrets Manager's. What a real DynamoDB would hold was written into an embedded one and read back.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::serve::{Listener, ListenerExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tests::aws::runtime_api::REGION;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::items::Items;

/// The platform secret of the one partner.
pub(crate) const PLATFORM_SECRET: &str = "a-platform-secret-of-the-benchmark";

/// The addresses of the two services, at ports of their own: two connections, as on AWS.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) dynamodb: String,
    pub(crate) secrets_manager: String,
}

/// Both services, over TLS and without.
pub(crate) struct Aws {
    pub(crate) over_tls: Endpoints,
    pub(crate) plain: Endpoints,
    /// A file for `SSL_CERT_FILE`: the root certificate that our server's was made with. Those in the programs, which it
    /// stands for, would have to be copied only.
    pub(crate) root: PathBuf,
}

impl Aws {
    /// Answers until the program ends; what must lie in a file is put into `directory`.
    pub(crate) async fn start(items: Items, directory: &Path) -> io::Result<Self> {
        let items = Arc::new(items);
        let (tls, certificate) = identity().map_err(io::Error::other)?;
        let root = directory.join("root.pem");
        fs::write(&root, certificate)?;
        let over_tls = Endpoints {
            dynamodb: serve(Some(&tls), items.clone()).await?,
            secrets_manager: serve(Some(&tls), items.clone()).await?,
        };
        let plain = Endpoints {
            dynamodb: serve(None, items.clone()).await?,
            secrets_manager: serve(None, items).await?,
        };
        Ok(Self {
            over_tls,
            plain,
            root,
        })
    }
}

/// Serves at a free port; by name, since the functions look AWS's names up, too.
async fn serve(tls: Option<&TlsAcceptor>, items: Arc<Items>) -> io::Result<String> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let port = tcp.local_addr()?.port();
    let routes = Router::new().fallback(answer).with_state(items);
    let Some(tls) = tls.cloned() else {
        let tcp = tcp.tap_io(at_once);
        tokio::spawn(async move { axum::serve(tcp, routes).await });
        return Ok(format!("http://localhost:{port}"));
    };
    tokio::spawn(async move { axum::serve(OverTls { tcp, tls }, routes).await });
    Ok(format!("https://localhost:{port}"))
}

/// Without this an answer may wait for an acknowledgement, up to 40 ms.
fn at_once(stream: &mut TcpStream) {
    let _slower_otherwise = stream.set_nodelay(true);
}

struct OverTls {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for OverTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (mut stream, address) = Listener::accept(&mut self.tcp).await;
            at_once(&mut stream);
            // A process that is killed in the middle of a handshake is none of our concern.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A server certificate for `localhost`, and the root that it was made with: RSA of 2,048 bits as AWS's, with one step to
/// the root where AWS has two, which costs the client some tens of microseconds less.
fn identity() -> Result<(TlsAcceptor, String), Box<dyn std::error::Error + Send + Sync>> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let root_certificate = root.self_signed(&root_key)?;
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?
        .signed_by(&key, &Issuer::new(root, root_key))?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), root_certificate.pem()))
}

async fn answer(
    State(items): State<Arc<Items>>,
    headers: HeaderMap,
    _read_to_its_end: String,
) -> impl IntoResponse {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    (
        [(CONTENT_TYPE, "application/x-amz-json-1.0")],
        fixed(target, &items).to_string(),
    )
}

fn fixed(target: &str, items: &Items) -> Value {
    let operation = target.rsplit('.').next().unwrap_or_default();
    match operation {
        "GetSecretValue" => json!({
            "ARN": format!("arn:aws:secretsmanager:{REGION}:123456789012:secret:360dialog/partners/benchPA-aBcDeF"),
            "Name": "360dialog/partners/benchPA",
            "VersionId": "6c1ea6b5-7f5e-4f0a-9c3e-2f1d8e5a7b90",
            "VersionStages": ["AWSCURRENT"],
            "SecretString": json!({"platform_secret": PLATFORM_SECRET, "partner_api_key": "a-key"}).to_string(),
        }),
        "Encrypt" => json!({"CiphertextBlob": "c2VhbGVk", "KeyId": "a-kms-key"}),
        "UpdateItem" => json!({"Attributes": {"issued": {"N": "1775653748"}}}),
        "GetItem" => json!({"Item": items.channel}),
        "Query" => json!({"Items": [items.channel], "Count": 1, "ScannedCount": 1}),
        _ => json!({}),
    }
}
