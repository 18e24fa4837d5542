//! The TLS of both sides: rustls with ring, trusting the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are
//! honoured).

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::config::ClientIdentity;
use crate::error::Error;

/// The system's roots, and `more`.
///
/// Missing roots are no error: plain connections need none, and a TLS handshake without them fails saying so.
///
/// # Errors
/// [`Error::Setup`] if one of `more` is no certificate.
pub fn roots(more: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of this system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    for certificate in more {
        roots.add(certificate.clone()).map_err(setup)?;
    }
    Ok(Arc::new(roots))
}

/// A client configuration that trusts `roots`, offers the protocols of `alpn`, and shows `identity` to who asks for it.
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

#[allow(clippy::needless_pass_by_value, reason = "maps errors")]
fn setup(error: rustls::Error) -> Error {
    Error::Setup { object: "TLS".into(), detail: error.to_string() }
}
