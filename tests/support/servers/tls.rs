//! Certificates for servers on this machine and for their clients.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The names of this machine.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    /// The certificate whose key signed this one, perhaps itself: who trusts it trusts both.
    pub issuer: String,
}

impl Tls {
    /// Makes a certificate for a server that signs for itself, another one each time.
    pub fn self_signed() -> Self {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned)).expect("a self-signed certificate");
        let certificate = made.cert.pem();
        Self { issuer: certificate.clone(), certificate, key: made.signing_key.serialize_pem() }
    }

    /// Writes both files into `directory` and returns the paths of certificate and key.
    pub fn write(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let paths = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::write(&paths.0, &self.certificate).expect("write the certificate");
        fs::write(&paths.1, &self.key).expect("write the key");
        paths
    }
}

/// A private certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority that nobody trusts yet, another one each time.
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("authority {} of the tests", MADE.fetch_add(1, Ordering::Relaxed));
        let mut params = params(&name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("the authority's key");
        Self(CertifiedIssuer::self_signed(params, key).expect("the authority's certificate"))
    }

    /// Returns its certificate in PEM.
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Makes a certificate for a server on this machine.
    pub fn server(&self) -> Tls {
        self.sign(params("server of the tests", &NAMES), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes a certificate for a client.
    pub fn client(&self) -> Tls {
        self.sign(params("client of the tests", &[]), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Makes a certificate for a server that has another name.
    pub fn server_of(&self, name: &str) -> Tls {
        self.sign(params("server of the tests", &[name]), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes a certificate for a server on this machine that was valid once.
    pub fn expired_server(&self) -> Tls {
        self.sign(expired(params("server of the tests", &NAMES)), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes a certificate for a client that was valid once.
    pub fn expired_client(&self) -> Tls {
        self.sign(expired(params("client of the tests", &[])), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Tls {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a signed certificate");
        Tls { certificate: certificate.pem(), key: key.serialize_pem(), issuer: self.certificate() }
    }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names for a certificate");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
