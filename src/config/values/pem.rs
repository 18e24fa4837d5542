//! Certificates and keys in PEM (RFC 7468), read from files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::shown;
use crate::oci::cosign;
use crate::util::file::read_small;

pub(in crate::config) type Certificates = Vec<CertificateDer<'static>>;
pub(in crate::config) type PrivateKey = Arc<PrivateKeyDer<'static>>;
pub(in crate::config) type PublicKeys = Vec<SubjectPublicKeyInfoDer<'static>>;

/// Largest file with certificates or keys, bytes.
#[doc(alias = "bound")]
const MAX_SIZE: u64 = 4 << 20;

/// Every certificate in the file `path`; there is one at least.
///
/// # Errors
/// What is wrong with the file, as words that follow "is".
pub(in crate::config) fn certificates(path: &str) -> Result<Certificates, String> {
    let certificates: Certificates = objects(path, &read(path)?, "certificate")?;
    let mut roots = RootCertStore::empty();
    let is_usable = certificates.iter().all(|certificate| roots.add(certificate.clone()).is_ok());
    is_usable
        .then_some(certificates)
        .ok_or_else(|| format!("{}, which has a certificate that cannot be used", shown(path)))
}

/// When the first of `chain` that is out of date has expired or will be valid, if one is, as words that follow "is".
pub(in crate::config) fn out_of_date(chain: &[CertificateDer<'_>]) -> Option<String> {
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
///
/// # Errors
/// As [`certificates`].
pub(in crate::config) fn private_key(path: &str) -> Result<PrivateKey, String> {
    let pem = read(path)?;
    let unusable = || {
        let is_encrypted = pem.windows(9).any(|words| words == b"ENCRYPTED");
        let why = if is_encrypted { "is encrypted" } else { "has no private key that can be used" };
        format!("{}, which {why}", shown(path))
    };
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| unusable())?;
    rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| unusable())?;
    Ok(Arc::new(key))
}

/// The public keys in `text`, or in the files whose paths it lists.
///
/// # Errors
/// As [`certificates`].
pub(in crate::config) fn public_keys(text: &str) -> Result<PublicKeys, String> {
    let keys: Vec<_> = if text.contains("-----BEGIN") {
        objects(text, text.as_bytes(), "public key")?
    } else {
        let of_file = |path: &str| objects(path, &read(path)?, "public key");
        text.split(',').map(str::trim).map(of_file).collect::<Result<Vec<Vec<_>>, _>>()?.concat()
    };
    let is_usable = keys.iter().all(cosign::is_usable);
    is_usable.then_some(keys).ok_or_else(|| format!("{}, which has a key of another kind", shown(text)))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    read_small(Path::new(path), MAX_SIZE).map_err(|error| format!("{}, which cannot be read: {error}", shown(path)))
}

fn objects<T: PemObject>(path: &str, pem: &[u8], what: &str) -> Result<Vec<T>, String> {
    let objects: Vec<T> = T::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap_or_default();
    if objects.is_empty() { Err(format!("{}, which has no {what} in PEM", shown(path))) } else { Ok(objects) }
}
