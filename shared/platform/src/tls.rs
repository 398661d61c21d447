//! What every HTTP client of a process shares: one TLS set-up, and whom it trusts.
//!
//! The root certificates that [Mozilla][1] trusted when the program was built lie in it ready for use; the machine's, some
//! 140 that take a fifth of a function's start to read, are read when a server's issuer is not among them. So a bundle that
//! nobody deploys again goes on with what Lambda's own updates bring, and a company's own root certificate works, too.
//!
//! [1]: https://wiki.mozilla.org/CA

use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

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
    /// Trusts the root certificates in the program, then the machine's; if `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, only
    /// those there.
    pub fn new() -> Result<Self, NoTls> {
        let is_told = INSTEAD.iter().any(|name| std::env::var_os(name).is_some());
        let in_program = if is_told { &[] } else { webpki_roots::TLS_SERVER_ROOTS };
        Self::trusting(in_program.iter().cloned().collect(), || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        })
    }

    fn trusting(first: RootCertStore, then: impl FnOnce() -> RootCertStore + Send + 'static) -> Result<Self, NoTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let first = verifier(first, &provider);
        let of_then = provider.clone();
        let then: Then = LazyLock::new(Box::new(move || verifier(then(), &of_then)));
        let roots = Roots { first, then, provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|_| NoTls)?.dangerous().with_custom_certificate_verifier(Arc::new(roots));
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

/// Rustls's own, of one set of root certificates; `None` if that is empty.
type Verifier = Option<Arc<WebPkiServerVerifier>>;

type Then = LazyLock<Verifier, Box<dyn FnOnce() -> Verifier + Send>>;

fn verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Verifier {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().ok()
}

/// Two sets of root certificates: the second is read when the first does not know an issuer. What a certificate must
/// fulfil is rustls's own in either case.
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
        let by = |verifier: &Verifier| match verifier {
            Some(verifier) => verifier.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match by(&self.first) {
            // A bad signature: an issuer of the same name has another key by now.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
                by(&self.then)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
