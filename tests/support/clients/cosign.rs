//! Signatures by openssl, laid out as cosign does.

use std::{fs, path::PathBuf, process::Command};

use base64_simd::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::clients::artifacts::Artifact;
use crate::support::path;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What openssl makes a key from, and what it hashes a message with before it signs.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm {
    key: &'static [&'static str],
    digest: &'static [&'static str],
}

impl Algorithm {
    pub const P256: Self = Self { key: &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], digest: SHA256 };
    /// As cosign used it up to version 2.
    pub const P384: Self = Self { key: &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], digest: SHA256 };
    pub const P384_SHA384: Self =
        Self { key: &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], digest: &["-digest", "sha384"] };
    pub const RSA: Self = Self { key: &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], digest: SHA256 };
    pub const ED25519: Self = Self { key: &["ED25519"], digest: &[] };
    /// One that the daemon does not know.
    pub const P521: Self = Self { key: &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"], digest: SHA256 };
}

const SHA256: &[&str] = &["-digest", "sha256"];

/// A pair of keys.
pub struct Key {
    folder: TempDir,
    algorithm: Algorithm,
}

impl Key {
    /// Makes another pair each time.
    pub fn new(algorithm: Algorithm) -> Self {
        let key = Self { folder: tempfile::tempdir().expect("a folder for the keys"), algorithm };
        openssl(&["genpkey", "-algorithm"], algorithm.key, &["-out", path(&key.private())]);
        openssl(&["pkey", "-pubout", "-in"], &[path(&key.private())], &["-out", path(&key.public())]);
        key
    }

    /// Returns the path of the public key, in PEM.
    pub fn public(&self) -> PathBuf {
        self.folder.path().join("cosign.pub")
    }

    /// Returns the public key in PEM.
    pub fn pem(&self) -> String {
        fs::read_to_string(self.public()).expect("the public key")
    }

    /// Returns the path of the private key, in PEM.
    pub fn private(&self) -> PathBuf {
        self.folder.path().join("cosign.key")
    }

    /// Returns the signature of `message` in base64.
    pub fn sign(&self, message: &str) -> String {
        let [file, signature] = ["message", "signature"].map(|name| self.folder.path().join(name));
        fs::write(&file, message).expect("write the message");
        let sign = ["pkeyutl", "-sign", "-rawin", "-in", path(&file), "-out", path(&signature)];
        openssl(&sign, self.algorithm.digest, &["-inkey", path(&self.private())]);
        STANDARD.encode_to_string(fs::read(signature).expect("the signature"))
    }

    /// Returns the signature manifest of a simple-signing payload.
    pub fn simple_signing(&self, payload: &str) -> Artifact {
        simple_signing(&[(payload, &self.sign(payload))])
    }

    /// Returns the same as a referrer of what it signs.
    pub fn referrer(&self, payload: &str) -> Artifact {
        self.simple_signing(payload).kind("application/vnd.dev.cosign.artifact.sig.v1+json")
    }

    /// Returns a bundle with a signed in-toto statement, to be listed among the referrers of what it signs.
    pub fn bundle(&self, statement: &str) -> Artifact {
        // DSSE version 1, "Signature Definition": the pre-authentication encoding.
        let message = format!("DSSEv1 {} {IN_TOTO} {} {statement}", IN_TOTO.len(), statement.len());
        bundle(statement, &self.sign(&message))
    }
}

/// Returns the tag of the signature manifest of `signed`.
pub fn signature_tag(signed: &Artifact) -> String {
    format!("{}.sig", referrers_tag(signed))
}

/// Returns the tag of the index of what refers to `signed`, at registries without an API for this (OCI distribution
/// specification, "Referrers Tag Schema").
pub fn referrers_tag(signed: &Artifact) -> String {
    signed.digest().replace(':', "-")
}

/// Returns the payload that vouches for a digest.
pub fn payload(digest: &str) -> String {
    json!({
        "critical": {
            "identity": { "docker-reference": "registry.example/acme/add" },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// Returns the in-toto statement that vouches for some digests.
pub fn statement(digests: &[&str]) -> String {
    let subject = |digest: &&str| json!({ "digest": { "sha256": digest.trim_start_matches("sha256:") } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": digests.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
    .to_string()
}

/// Returns a signature manifest of payloads and their signatures.
pub fn simple_signing(signatures: &[(&str, &str)]) -> Artifact {
    signatures.iter().fold(Artifact::image(&json!({})), |manifest, (payload, signature)| {
        manifest.layer(SIMPLE_SIGNING, payload).layer_annotated(SIGNATURE, signature)
    })
}

/// Returns a bundle with one signature.
pub fn bundle(statement: &str, signature: &str) -> Artifact {
    let bundle: Value = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "a key of the tests" }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode_to_string(statement),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": signature, "keyid": "" }],
        },
    });
    let manifest = Artifact::new("application/vnd.oci.empty.v1+json", "{}").kind(BUNDLE);
    manifest.layer(BUNDLE, bundle.to_string()).annotated("dev.sigstore.bundle.content", "dsse-envelope")
}

fn openssl(command: &[&str], options: &[&str], files: &[&str]) {
    let arguments = [command, options, files].concat();
    let output = Command::new("openssl").args(&arguments).output().expect("run openssl");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
