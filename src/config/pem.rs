//! Certificates and keys in PEM (RFC 7468), out of files.

use std::fs;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::signature;

/// Every certificate in the file `path`; there is one at least.
pub(super) fn certificates(path: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<CertificateDer<'static>> = objects(&fs::read(path).ok()?)?;
    let mut roots = RootCertStore::empty();
    certificates.iter().all(|certificate| roots.add(certificate.clone()).is_ok()).then_some(certificates)
}

/// When the first of `chain` that is out of date has expired or will be valid, if one is, as words that follow "is".
pub(super) fn out_of_date(chain: &[CertificateDer<'_>]) -> Option<String> {
    chain.iter().find_map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        let now = ASN1Time::now();
        if now > validity.not_after {
            Some(format!("a certificate that expired on {}", validity.not_after))
        } else if now < validity.not_before {
            Some(format!("a certificate that is not valid before {}", validity.not_before))
        } else {
            None
        }
    })
}

/// The private key in the file `path`.
pub(super) fn private_key(path: &str) -> Option<Arc<PrivateKeyDer<'static>>> {
    let key = PrivateKeyDer::from_pem_slice(&fs::read(path).ok()?).ok()?;
    rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
    Some(Arc::new(key))
}

/// The public keys in `text`, or in the files whose paths it lists.
pub(super) fn public_keys(text: &str) -> Option<Vec<SubjectPublicKeyInfoDer<'static>>> {
    let keys = if text.contains("-----BEGIN") {
        objects(text.as_bytes())?
    } else {
        let files: Option<Vec<Vec<_>>> = text.split(',').map(|path| objects(&fs::read(path.trim()).ok()?)).collect();
        files?.concat()
    };
    keys.iter().all(signature::is_usable).then_some(keys)
}

fn objects<T: PemObject>(pem: &[u8]) -> Option<Vec<T>> {
    let objects: Vec<T> = T::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!objects.is_empty()).then_some(objects)
}
