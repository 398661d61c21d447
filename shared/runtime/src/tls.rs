//! The TLS set-up of all HTTP clients of a process, and the root certificates it trusts.
//!
//! A function trusts the machine's root certificates. Reading them, some 140, takes a sixth of its start, and at its start
//! it calls only AWS. So Amazon's own four roots are compiled into the program, and the machine's are read when those do
//! not verify a server. A bundle that nobody deploys again for years keeps working, since Lambda's updates renew the
//! machine's certificates.

use std::ffi::OsString;
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// A part of the names of Amazon's roots, and of no other.
const AMAZON: &[u8] = b"Amazon Root CA ";

/// The variables that name the root certificates to trust instead of all others, as in OpenSSL.
const OVERRIDES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A TLS set-up; clones share it.
#[derive(Clone, Debug)]
pub struct Tls(ClientConfig);

/// No TLS can be set up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no TLS can be set up")]
pub struct NoTls;

impl Tls {
    /// Trusts Amazon's root certificates, then the machine's. If `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, only those.
    pub fn new() -> Result<Self, NoTls> {
        Self::trusting(built_in_roots(std::env::var_os), machine_roots)
    }

    fn trusting(
        first: RootCertStore,
        second: impl FnOnce() -> RootCertStore + Send + 'static,
    ) -> Result<Self, NoTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let first = verifier(first, &provider);
        let second_provider = provider.clone();
        let second: LazyVerifier =
            LazyLock::new(Box::new(move || verifier(second(), &second_provider)));
        let roots = Roots {
            first,
            second,
            provider: provider.clone(),
        };
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config
            .map_err(|_| NoTls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(roots));
        Ok(Self(config.with_no_client_auth()))
    }

    /// The builder of a client that follows no redirects.
    pub fn client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.0.clone())
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
    }
}

/// Amazon's roots, or none if the environment overrides them.
fn built_in_roots(environment: impl Fn(&'static str) -> Option<OsString>) -> RootCertStore {
    let is_overridden = OVERRIDES
        .into_iter()
        .filter_map(environment)
        .any(|path| !path.is_empty());
    if is_overridden {
        RootCertStore::empty()
    } else {
        amazon_roots()
    }
}

/// The four roots of [Amazon Trust Services][1], which sign for every AWS service.
///
/// [1]: https://www.amazontrust.com/repository/
fn amazon_roots() -> RootCertStore {
    let is_amazon = |subject: &[u8]| subject.windows(AMAZON.len()).any(|part| part == AMAZON);
    webpki_roots::TLS_SERVER_ROOTS
        .iter()
        .filter(|root| is_amazon(&root.subject))
        .cloned()
        .collect()
}

fn machine_roots() -> RootCertStore {
    let read = rustls_native_certs::load_native_certs();
    for error in &read.errors {
        tracing::warn!(%error, "root certificates could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.certs);
    if roots.is_empty() {
        tracing::error!(
            "no root certificate could be read: of all servers at most Amazon's are trusted"
        );
    }
    roots
}

/// Rustls's verifier for one set of root certificates; `None` if the set is empty.
type Verifier = Option<Arc<WebPkiServerVerifier>>;

type LazyVerifier = LazyLock<Verifier, Box<dyn FnOnce() -> Verifier + Send>>;

fn verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Verifier {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .ok()
}

/// Two sets of root certificates. The second is read when the first does not verify a certificate. Rustls does the
/// verification in both cases.
#[derive(Debug)]
struct Roots {
    first: Verifier,
    second: LazyVerifier,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)
        };
        // Whatever the error of the first set: there may be another chain to a root of the second.
        let refused = match self.first.as_deref().map(by) {
            Some(Ok(verified)) => return Ok(verified),
            Some(Err(refused)) => refused,
            None => CertificateError::UnknownIssuer.into(),
        };
        self.second.as_deref().map_or(Err(refused), by)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
