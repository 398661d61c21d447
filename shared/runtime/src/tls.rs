//! What every HTTP client of a process shares: one TLS set-up, and whom it trusts.
//!
//! That is the machine's root certificates. To read them, some 140, takes a sixth of a function's start, and all that
//! a function calls at its start is AWS: so Amazon's own four lie in the program, ready for use, and the machine's are read
//! when a server is not to be trusted by those. A bundle that nobody deploys again for years goes on, as Lambda's updates
//! bring it what the machine trusts by then.

use std::ffi::OsString;
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// In the names of Amazon's roots and of no other.
const AMAZON: &[u8] = b"Amazon Root CA ";

/// Where OpenSSL and its kin are told what to trust: instead of everything else, not beside it.
const INSTEAD: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// One TLS set-up; a clone is the same one.
#[derive(Clone, Debug)]
pub struct Tls(ClientConfig);

/// No TLS can be set up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no TLS can be set up")]
pub struct NoTls;

impl Tls {
    /// Trusts Amazon's root certificates, then the machine's; if `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, only those there.
    pub fn new() -> Result<Self, NoTls> {
        Self::trusting(at_hand(std::env::var_os), machine)
    }

    fn trusting(
        first: RootCertStore,
        then: impl FnOnce() -> RootCertStore + Send + 'static,
    ) -> Result<Self, NoTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let first = verifier(first, &provider);
        let of_then = provider.clone();
        let then: Then = LazyLock::new(Box::new(move || verifier(then(), &of_then)));
        let roots = Roots {
            first,
            then,
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

    /// The beginning of a client, which follows no redirect.
    pub fn client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.0.clone())
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
    }
}

/// What is trusted before anything is read, as the environment has it.
fn at_hand(environment: impl Fn(&'static str) -> Option<OsString>) -> RootCertStore {
    let is_told = INSTEAD
        .into_iter()
        .filter_map(environment)
        .any(|path| !path.is_empty());
    if is_told {
        RootCertStore::empty()
    } else {
        amazon()
    }
}

/// The four roots of [Amazon Trust Services][1], which sign for every AWS service.
///
/// [1]: https://www.amazontrust.com/repository/
fn amazon() -> RootCertStore {
    let is_amazon = |subject: &[u8]| subject.windows(AMAZON.len()).any(|part| part == AMAZON);
    webpki_roots::TLS_SERVER_ROOTS
        .iter()
        .filter(|root| is_amazon(&root.subject))
        .cloned()
        .collect()
}

fn machine() -> RootCertStore {
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

/// Rustls's own, of one set of root certificates; `None` if that is empty.
type Verifier = Option<Arc<WebPkiServerVerifier>>;

type Then = LazyLock<Verifier, Box<dyn FnOnce() -> Verifier + Send>>;

fn verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Verifier {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .ok()
}

/// Two sets of root certificates: the second is read when the first leads to no trust. What a certificate must fulfil is
/// rustls's own in either case.
#[derive(Debug)]
struct Roots {
    first: Verifier,
    then: Then,
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
        // Whatever the first set has against it: with other roots there may be another way to one.
        let refused = match self.first.as_deref().map(by) {
            Some(Ok(verified)) => return Ok(verified),
            Some(Err(refused)) => refused,
            None => CertificateError::UnknownIssuer.into(),
        };
        self.then.as_deref().map_or(Err(refused), by)
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
