//! The one TLS client configuration: rustls with ring, trusting the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR`
//! are honoured).

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// A client configuration that offers the protocols of `alpn`.
///
/// # Errors
/// [`Error::Setup`] if the provider cannot do TLS 1.2 and 1.3. Missing roots are no error here: plain connections need
/// none, and a TLS handshake without them fails saying so.
pub fn client_config(alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some root certificates of this system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setup { object: "TLS".into(), detail: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
