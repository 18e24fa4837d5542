//! A certificate for servers on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A self-signed certificate for `127.0.0.1` and `localhost` and its key, both in PEM.
#[derive(Clone)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
}

impl Tls {
    /// Makes a certificate, another one each time.
    pub fn self_signed() -> Self {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a self-signed certificate");
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes both files into `directory` and returns the paths of certificate and key.
    pub fn write(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let paths = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::write(&paths.0, &self.certificate).expect("write the certificate");
        fs::write(&paths.1, &self.key).expect("write the key");
        paths
    }
}
