use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::StatusCode;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server on this machine, and the root that a client must trust.
struct Server {
    url: String,
    root: RootCertStore,
}

impl Server {
    /// Starts a server at `localhost` with a certificate for `name`, issued by `issuer`.
    async fn start(name: &str, issuer: &str) -> Self {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, issuer);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = certificate
            .signed_by(&key, &Issuer::new(root, root_key))
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let config = config
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();

        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let tls = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust it ends the handshake.
                let Ok(mut stream) = tls.accept(stream).await else {
                    continue;
                };
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                    .await
                    .unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let mut trusted = RootCertStore::empty();
        trusted.add(root_certificate.der().clone()).unwrap();
        Self { url, root: trusted }
    }

    async fn ask(&self, tls: &Tls) -> Result<StatusCode, String> {
        let client = tls.client().no_proxy().build().unwrap();
        match client.get(&self.url).send().await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}

fn nothing() -> RootCertStore {
    RootCertStore::empty()
}

fn never_read() -> RootCertStore {
    panic!("the second set was read")
}

#[tokio::test]
async fn the_second_set_is_not_read_if_the_first_knows_the_issuer() {
    let server = Server::start("localhost", "a root").await;
    let tls = Tls::trusting(server.root.clone(), never_read).unwrap();
    assert_eq!(server.ask(&tls).await, Ok(StatusCode::NO_CONTENT));
}

#[tokio::test]
async fn an_issuer_that_only_the_second_set_knows_is_trusted() {
    let server = Server::start("localhost", "a root").await;
    let other = Server::start("localhost", "another root").await;
    let same_name = Server::start("localhost", "a root").await;
    for first in [nothing(), other.root, same_name.root] {
        let then = server.root.clone();
        let tls = Tls::trusting(first, || then).unwrap();
        assert_eq!(server.ask(&tls).await, Ok(StatusCode::NO_CONTENT));
        assert_eq!(server.ask(&tls).await, Ok(StatusCode::NO_CONTENT));
    }
}

#[tokio::test]
async fn an_issuer_that_neither_set_knows_is_refused() {
    let server = Server::start("localhost", "a root").await;
    let other = Server::start("localhost", "another root").await;
    let more = other.root.clone();
    for tls in [
        Tls::trusting(nothing(), nothing),
        Tls::trusting(other.root, || more),
        Tls::new(),
    ] {
        let refused = server.ask(&tls.unwrap()).await.unwrap_err();
        assert!(refused.contains("UnknownIssuer"), "{refused}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = Server::start("other.example", "a root").await;
    let roots = || server.root.clone();
    let (once, twice) = (roots(), roots());
    for tls in [
        Tls::trusting(roots(), nothing),
        Tls::trusting(nothing(), || once),
        Tls::trusting(roots(), || twice),
    ] {
        let refused = server.ask(&tls.unwrap()).await.unwrap_err();
        assert!(refused.contains("NotValidForName"), "{refused}");
    }
}

#[test]
fn amazons_four_roots_are_built_in_unless_the_environment_overrides_them() {
    let roots_with = |variable, value: &str| {
        built_in_roots(|name| (name == variable).then(|| value.into())).len()
    };
    assert_eq!(
        (roots_with("HOME", "/x"), roots_with("SSL_CERT_FILE", "")),
        (4, 4)
    );
    assert_eq!(
        (
            roots_with("SSL_CERT_FILE", "/x"),
            roots_with("SSL_CERT_DIR", "/x")
        ),
        (0, 0)
    );
}
