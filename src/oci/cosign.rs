//! Signatures that cosign makes with a key, verified offline: without a transparency log.
//!
//! Two forms are in use. The older one is a manifest under the tag `sha256-….sig`, or a referrer, whose layers are
//! simple-signing payloads, each with its signature in an annotation. The newer one is a referrer whose layer is a
//! Sigstore bundle: an in-toto statement in a DSSE envelope. Both name the digest that they sign. This digest is
//! compared with that of the module's manifest, or a signature could be moved from one module to another.
//!
//! It knows these two forms. It must never know where signatures are stored, or how they are fetched.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use serde::Deserialize;
use serde_json::Value;
use webpki::Error::InvalidSignatureForPublicKey as Invalid;
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};

use crate::oci::digest::Digest;
use crate::oci::manifest::{Entry, Image};

/// The media type of a simple-signing payload.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The media type of a bundle, without its version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Signatures of one manifest that are verified, in each list.
#[doc(alias = "bound")]
pub(crate) const MAX_SIGNATURES: usize = 32;
/// Largest payload or bundle of a signature that is verified, bytes.
#[doc(alias = "bound")]
pub(crate) const MAX_SIGNATURE_SIZE: u64 = 128 << 10;
/// Signatures in one bundle that are verified.
#[doc(alias = "bound")]
const MAX_BUNDLE_SIGNATURES: usize = 4;
/// The type of a simple-signing payload.
const SIMPLE_SIGNATURE: &str = "cosign container image signature";
/// The media type of a statement.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// The predicate of a statement that signs its subjects. Attestations of other kinds are signed, too, and do not permit
/// to run the module.
const SIGNS: &str = "https://sigstore.dev/cosign/sign/v1";

/// The tags under which signatures of `digest` may be: cosign's own, and the list of referrers of registries that have
/// none (OCI distribution specification, "Referrers Tag Schema").
pub(crate) fn tags(digest: Digest) -> [String; 2] {
    let tag = format!("sha256-{}", digest.hex());
    [format!("{tag}.sig"), tag]
}

/// The layers of a manifest that hold signatures.
pub(crate) fn layers(manifest: &Image) -> impl Iterator<Item = &Entry> {
    manifest.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING || layer.media_type.starts_with(BUNDLE))
}

/// Whether a referrer's artifact type may be that of a signature.
pub(crate) fn may_sign(artifact_type: Option<&str>) -> bool {
    artifact_type.is_none_or(|it| it.starts_with(BUNDLE) || it.starts_with("application/vnd.dev.cosign."))
}

/// Whether signatures by a key can be verified.
pub(crate) fn is_usable(key: &SubjectPublicKeyInfoDer<'static>) -> bool {
    let Ok(key) = RawPublicKeyEntity::try_from(key) else { return false };
    // An empty signature is invalid if the key fits the algorithm, and another error if it does not.
    ALL_VERIFICATION_ALGS.iter().any(|algorithm| key.verify_signature(*algorithm, &[], &[]) == Err(Invalid))
}

/// Whether the content of `layer` is a signature of `digest` by one of `keys`.
pub(crate) fn is_valid(
    layer: &Entry,
    content: &[u8],
    digest: Digest,
    keys: &[SubjectPublicKeyInfoDer<'static>],
) -> bool {
    if layer.media_type == SIMPLE_SIGNING {
        let signature = layer.annotations.signature.as_deref();
        signature.is_some_and(|signature| is_simple_signature(content, signature, digest, keys))
    } else {
        is_bundle(content, digest, keys)
    }
}

/// Whether the payload is signed, and names the digest (containers/image, "Atomic Container Signature").
fn is_simple_signature(
    payload: &[u8],
    signature: &str,
    digest: Digest,
    keys: &[SubjectPublicKeyInfoDer<'static>],
) -> bool {
    is_signed(payload, signature, keys)
        && serde_json::from_slice::<Value>(payload).is_ok_and(|payload| {
            text(&payload, "/critical/image/docker-manifest-digest") == Some(&digest.to_string())
                && text(&payload, "/critical/type") == Some(SIMPLE_SIGNATURE)
        })
}

/// Whether the envelope in the bundle is signed (DSSE 1.0.2, section "Signature Definition"), and its statement signs
/// the digest (in-toto attestation framework, "Statement").
fn is_bundle(bundle: &[u8], digest: Digest, keys: &[SubjectPublicKeyInfoDer<'static>]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bundle {
        dsse_envelope: Envelope,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        payload: String,
        payload_type: String,
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        sig: String,
    }
    let Ok(Bundle { dsse_envelope }) = serde_json::from_slice(bundle) else { return false };
    let Envelope { payload, payload_type, signatures } = dsse_envelope;
    let Some(payload) = decode(&payload) else { return false };
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    let mut signatures = signatures.iter().take(MAX_BUNDLE_SIGNATURES);
    payload_type == STATEMENT
        && signatures.any(|signature| is_signed(&message, &signature.sig, keys))
        && signs(&payload, digest)
}

/// Whether a statement signs the digest.
fn signs(statement: &[u8], digest: Digest) -> bool {
    let Ok(statement) = serde_json::from_slice::<Value>(statement) else { return false };
    let subjects = statement.get("subject").and_then(Value::as_array);
    let is_subject = |subject: &Value| text(subject, "/digest/sha256") == Some(&digest.hex());
    text(&statement, "/predicateType") == Some(SIGNS)
        && subjects.is_some_and(|subjects| subjects.iter().any(is_subject))
}

/// Whether one of `keys` made the base64 `signature` of `message`, by any algorithm that fits the key.
fn is_signed(message: &[u8], signature: &str, keys: &[SubjectPublicKeyInfoDer<'static>]) -> bool {
    let Some(signature) = decode(signature) else { return false };
    keys.iter().any(|key| {
        let Ok(key) = RawPublicKeyEntity::try_from(key) else { return false };
        ALL_VERIFICATION_ALGS.iter().any(|algorithm| key.verify_signature(*algorithm, message, &signature).is_ok())
    })
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(base64).ok()
}

/// The text at a JSON pointer (RFC 6901).
fn text<'a>(json: &'a Value, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer)?.as_str()
}
