//! Signatures as cosign makes them with a key, checked offline: no transparency log is asked.
//!
//! Two forms are in use. The older one is a manifest under the tag `sha256-….sig`, or a referrer, whose layers are
//! simple-signing payloads, each with its signature in an annotation. The newer one is a referrer whose layer is a Sigstore
//! bundle: an in-toto statement in a DSSE envelope. Both name the digest that they sign; that this is the digest which is
//! about to be delivered is checked here, or a signature could be moved from one module to another.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use serde::Deserialize;
use serde_json::Value;
use webpki::Error::InvalidSignatureForPublicKey as Invalid;
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};

use crate::oci::digest::Digest;
use crate::oci::manifest::{Entry, Image};

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Any version of the bundle.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Signatures of one manifest that are looked at.
pub(crate) const MAX_SIGNATURES: usize = 32;
/// Largest payload or bundle that is looked at, bytes.
pub(crate) const MAX_SIGNATURE_SIZE: u64 = 128 << 10;
/// Signatures in one bundle that are looked at.
const MAX_BUNDLE_SIGNATURES: usize = 4;

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

/// Whether a key is of a kind that signatures can be checked by.
pub(crate) fn is_usable(key: &SubjectPublicKeyInfoDer<'static>) -> bool {
    let Ok(key) = RawPublicKeyEntity::try_from(key) else { return false };
    // Of a key that fits the algorithm, an empty signature is invalid; of another it is not even looked at.
    ALL_VERIFICATION_ALGS.iter().any(|algorithm| key.verify_signature(*algorithm, &[], &[]) == Err(Invalid))
}

/// Whether the content of `layer` is a signature of `digest` by one of `keys`.
pub(crate) fn is_valid(
    layer: &Entry,
    content: &[u8],
    digest: Digest,
    keys: &[SubjectPublicKeyInfoDer<'static>],
) -> bool {
    let valid = if layer.media_type == SIMPLE_SIGNING {
        let signature = layer.annotations.signature.as_ref();
        signature.and_then(|signature| simple_signing(content, signature, digest, keys))
    } else {
        bundle(content, digest, keys)
    };
    valid.is_some()
}

/// The payload is signed, and names the digest (containers/image, "Atomic Container Signature").
fn simple_signing(
    payload: &[u8],
    signature: &str,
    digest: Digest,
    keys: &[SubjectPublicKeyInfoDer<'static>],
) -> Option<()> {
    verify(payload, &decode(signature)?, keys)?;
    let payload: Value = serde_json::from_slice(payload).ok()?;
    let named = payload.pointer("/critical/image/docker-manifest-digest")?.as_str()?;
    let kind = payload.pointer("/critical/type")?.as_str()?;
    (named == digest.to_string() && kind == "cosign container image signature").then_some(())
}

/// The envelope is signed, and its statement names the digest (DSSE 1.0.2, section "Signature Definition"; in-toto
/// attestation framework, "Statement").
fn bundle(content: &[u8], digest: Digest, keys: &[SubjectPublicKeyInfoDer<'static>]) -> Option<()> {
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
    const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

    let Envelope { payload, payload_type, signatures } = serde_json::from_slice::<Bundle>(content).ok()?.dsse_envelope;
    let payload = decode(&payload)?;
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    signatures
        .iter()
        .take(MAX_BUNDLE_SIGNATURES)
        .find_map(|signature| verify(&message, &decode(&signature.sig)?, keys))?;

    let statement: Value = serde_json::from_slice(&payload).ok()?;
    let subjects = statement.get("subject")?.as_array()?;
    let named =
        subjects.iter().any(|subject| subject.pointer("/digest/sha256").and_then(Value::as_str) == Some(&digest.hex()));
    // Attestations of other kinds are signed, too, and do not say that the module may be run.
    let signs = statement.get("predicateType").and_then(Value::as_str) == Some(SIGNED);
    (named && signs && payload_type == "application/vnd.in-toto+json").then_some(())
}

/// Whether one of `keys` made `signature` of `message`, by any algorithm that fits the key.
fn verify(message: &[u8], signature: &[u8], keys: &[SubjectPublicKeyInfoDer<'static>]) -> Option<()> {
    let by = |key: &SubjectPublicKeyInfoDer<'static>| {
        let Ok(key) = RawPublicKeyEntity::try_from(key) else { return false };
        ALL_VERIFICATION_ALGS.iter().any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
    };
    keys.iter().any(by).then_some(())
}

fn decode(base64: &str) -> Option<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(base64).ok()
}
