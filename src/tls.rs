//! TLS with brokers and registries: rustls with ring. The system's roots are trusted (`SSL_CERT_FILE` and `SSL_CERT_DIR`
//! are honoured).
//!
//! It knows certificates and keys. It must never know what is sent over a connection.

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::{env, fs, io};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;
use crate::util::file::read_small;

/// Bytes of the file that `SSL_CERT_FILE` names.
#[doc(alias = "bound")]
const MAX_ROOTS: u64 = 16 << 20;

/// A client certificate with its chain, and its private key.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate, then its issuers.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// The system's roots, and `more`.
///
/// Missing roots are no error: plain connections need none, and a TLS handshake without them fails with that reason.
///
/// # Errors
/// [`Error::Setup`] if one of `more` is no certificate, or `SSL_CERT_FILE` is too large.
pub fn roots(more: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, Error> {
    // A pipe can be read once, by the library.
    let file = env::var_os("SSL_CERT_FILE").filter(|file| fs::metadata(file).is_ok_and(|it| !it.file_type().is_fifo()));
    if let Some(Err(error)) = file.map(|file| read_small(file.as_ref(), MAX_ROOTS))
        && error.kind() == io::ErrorKind::FileTooLarge
    {
        return Err(Error::Setup { object: "SSL_CERT_FILE".into(), detail: error.to_string() });
    }
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some root certificates of this system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    for certificate in more {
        roots.add(certificate.clone()).map_err(setup)?;
    }
    Ok(Arc::new(roots))
}

/// A client configuration that trusts `roots`, offers the protocols of `alpn`, and shows `identity` to peers that
/// request it.
///
/// # Errors
/// [`Error::Setup`] if the provider cannot do TLS 1.2 and 1.3, or certificate and key do not belong together.
pub fn client_config(
    roots: Arc<RootCertStore>,
    alpn: &[&[u8]],
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(ClientIdentity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(setup)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A client configuration that accepts any certificate, and so does not protect from a man in the middle.
///
/// # Errors
/// As [`client_config`].
pub fn unchecked_client_config(identity: Option<&ClientIdentity>) -> Result<ClientConfig, Error> {
    let mut config = client_config(Arc::new(RootCertStore::empty()), &[], identity)?;
    let schemes = config.crypto_provider().signature_verification_algorithms;
    config.dangerous().set_certificate_verifier(Arc::new(Unchecked(schemes)));
    Ok(config)
}

/// Accepts any certificate, but requires that its key signed the handshake.
#[derive(Debug)]
struct Unchecked(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[allow(clippy::needless_pass_by_value, reason = "maps errors")]
fn setup(error: rustls::Error) -> Error {
    Error::Setup { object: "TLS".into(), detail: error.to_string() }
}
