//! Signatures made with openssl and laid out as cosign does: what the configured key vouches for is delivered, and
//! nothing else is.

use std::fs;

use propeller_proxy::embedded::sample;

use crate::support::clients::artifacts::Artifact;
use crate::support::clients::cosign::{
    Algorithm, Key, bundle, payload, referrers_tag, signature_tag, simple_signing, statement,
};
use crate::support::clients::daemon::Daemon;
use crate::support::clients::push::Pusher;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::referrers::ReferrersRegistry;
use crate::support::servers::site::Site;

/// The digest of something else.
const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What is pushed beside a module, and under which tag.
type Signed = fn(&Key, &Artifact) -> (String, Artifact);

/// Returns a module that no other row of a table has: a digest that was verified once stays verified.
fn made_up(seed: usize) -> Vec<u8> {
    sample::noise(1000, seed as u64)
}

fn signed(key: &Key, subject: &Artifact) -> (String, Artifact) {
    (signature_tag(subject), key.simple_signing(&payload(&subject.digest())))
}

/// The index of what refers to `subject`.
fn index_of(subject: &Artifact, referrer: Artifact) -> Artifact {
    Artifact::index().with_any(referrer.about(subject))
}

fn referred(subject: &Artifact, referrer: Artifact) -> (String, Artifact) {
    (referrers_tag(subject), index_of(subject, referrer))
}

/// Pushes a module under `latest`, with what `signed` makes of it.
async fn push(pusher: &Pusher, repository: &str, module: &[u8], key: &Key, signed: Signed) {
    let artifact = Artifact::wasm(module);
    artifact.push(pusher, repository, "latest").await;
    let (tag, signature) = signed(key, &artifact);
    signature.push(pusher, repository, &tag).await;
}

#[tokio::test]
async fn every_kind_of_key_verifies() {
    let registry = DockerRegistry::start().await;
    let kinds = [Algorithm::P256, Algorithm::P384, Algorithm::P384_SHA384, Algorithm::RSA, Algorithm::ED25519];
    for (seed, key) in kinds.map(Key::new).iter().enumerate() {
        let module = made_up(seed);
        push(registry.pusher(), "add", &module, key, signed).await;
        let site = Site::start(registry.host(), &[("PROXY_VERIFY_KEY", &key.public().to_string_lossy())]).await;
        site.delivers("add", &module).await;
    }
}

#[tokio::test]
async fn one_of_several_keys_is_enough() {
    let registry = DockerRegistry::start().await;
    let [first, second] = [Algorithm::RSA, Algorithm::P256].map(Key::new);
    let module = made_up(0);
    push(registry.pusher(), "add", &module, &second, signed).await;
    let paths = format!("{},{}", first.public().display(), second.public().display());
    for keys in [paths, first.pem() + &second.pem(), second.pem()] {
        let site = Site::start(registry.host(), &[("PROXY_VERIFY_KEY", &keys)]).await;
        site.delivers("add", &module).await;
    }
}

/// Pushes a module for each row, signed by it, and gets them all; returns where.
async fn all_delivered(host: &str, pusher: &Pusher, rows: &[(&str, Signed)]) -> Site {
    let key = Key::new(Algorithm::P256);
    let site = Site::start(host, &[("PROXY_VERIFY_KEY", &key.pem())]).await;
    for (seed, (name, signed)) in rows.iter().enumerate() {
        let module = made_up(seed);
        push(pusher, name, &module, &key, *signed).await;
        site.delivers(name, &module).await;
    }
    site
}

#[tokio::test]
async fn signatures_are_read_from_signature_tags() {
    let rows: &[(&str, Signed)] = &[
        ("simple-signing", signed),
        ("one-of-several", |key, subject| {
            let payload = payload(&subject.digest());
            let (strange, good) = (Key::new(Algorithm::P256).sign(&payload), key.sign(&payload));
            (signature_tag(subject), simple_signing(&[(&payload, &strange), (&payload, &good)]))
        }),
        ("referrer", |key, subject| referred(subject, key.referrer(&payload(&subject.digest())))),
        ("bundle", |key, subject| referred(subject, key.bundle(&statement(&[&subject.digest()])))),
        ("bundle-for-several", |key, subject| referred(subject, key.bundle(&statement(&[OTHER, &subject.digest()])))),
    ];
    let registry = DockerRegistry::start().await;
    all_delivered(registry.host(), registry.pusher(), rows).await;
}

#[tokio::test]
async fn signatures_are_read_from_the_referrers_api() {
    fn listed(subject: &Artifact, referrer: Artifact) -> (String, Artifact) {
        (ReferrersRegistry::tag_of_list(subject), index_of(subject, referrer))
    }
    let rows: &[(&str, Signed)] = &[
        ("simple-signing", |key, subject| listed(subject, key.referrer(&payload(&subject.digest())))),
        ("bundle", |key, subject| listed(subject, key.bundle(&statement(&[&subject.digest()])))),
    ];
    let registry = ReferrersRegistry::start().await;
    let site = all_delivered(registry.host(), registry.pusher(), rows).await;
    Artifact::wasm(&made_up(rows.len())).push(registry.pusher(), "absent", "latest").await;
    site.rejects("absent", "unsigned").await;
}

#[tokio::test]
async fn modules_without_a_valid_signature_are_rejected() {
    let rows: &[(&str, &str, Signed)] = &[
        ("wrong-key", "bad-signature", |_, subject| signed(&Key::new(Algorithm::P256), subject)),
        ("key-of-another-kind", "bad-signature", |_, subject| signed(&Key::new(Algorithm::ED25519), subject)),
        ("wrong-digest", "bad-signature", |key, subject| (signature_tag(subject), key.simple_signing(&payload(OTHER)))),
        ("tampered", "bad-signature", |key, subject| {
            let signature = key.sign(&payload(OTHER));
            (signature_tag(subject), simple_signing(&[(&payload(&subject.digest()), &signature)]))
        }),
        ("no-signature", "bad-signature", |_, subject| {
            (signature_tag(subject), simple_signing(&[(&payload(&subject.digest()), "no base64")]))
        }),
        ("payload-of-another-kind", "bad-signature", |key, subject| {
            let payload = payload(&subject.digest()).replace("cosign container image signature", "a greeting");
            (signature_tag(subject), key.simple_signing(&payload))
        }),
        ("bundle-of-wrong-key", "bad-signature", |_, subject| {
            referred(subject, Key::new(Algorithm::P256).bundle(&statement(&[&subject.digest()])))
        }),
        ("bundle-of-wrong-digest", "bad-signature", |key, subject| referred(subject, key.bundle(&statement(&[OTHER])))),
        ("bundle-for-nothing", "bad-signature", |key, subject| referred(subject, key.bundle(&statement(&[])))),
        // What is signed is not the statement alone but its encoding with its type.
        ("bundle-without-encoding", "bad-signature", |key, subject| {
            let statement = statement(&[&subject.digest()]);
            referred(subject, bundle(&statement, &key.sign(&statement)))
        }),
        // The same key may sign the provenance of a module, which does not mean that it may be run.
        ("attestation", "bad-signature", |key, subject| {
            let statement = statement(&[&subject.digest()]);
            let provenance = statement.replace("https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1");
            referred(subject, key.bundle(&provenance))
        }),
        ("other-referrer", "unsigned", |_, subject| {
            let sbom = Artifact::new("application/vnd.oci.empty.v1+json", "{}").kind("application/spdx+json");
            referred(subject, sbom.layer("application/spdx+json", "{}"))
        }),
    ];
    let registry = DockerRegistry::start().await;
    let key = Key::new(Algorithm::P256);
    let site = Site::start(registry.host(), &[("PROXY_VERIFY_KEY", &key.pem())]).await;
    for (seed, (name, code, signed)) in rows.iter().enumerate() {
        push(registry.pusher(), name, &made_up(seed), &key, *signed).await;
        site.rejects(name, code).await;
    }
    Artifact::wasm(&made_up(rows.len())).push(registry.pusher(), "absent", "latest").await;
    site.rejects("absent", "unsigned").await;
}

/// A genuine signature, copied to where that of another module belongs.
#[tokio::test]
async fn a_signature_of_another_module_is_rejected() {
    let registry = DockerRegistry::start().await;
    let key = Key::new(Algorithm::P256);
    let (good, evil) = (made_up(0), Artifact::wasm(&made_up(1)));
    push(registry.pusher(), "add", &good, &key, signed).await;
    evil.push(registry.pusher(), "add", "evil").await;
    let (_, genuine) = signed(&key, &Artifact::wasm(&good));
    genuine.push(registry.pusher(), "add", &signature_tag(&evil)).await;

    let site = Site::start(registry.host(), &[("PROXY_VERIFY_KEY", &key.pem())]).await;
    site.delivers("add", &good).await;
    site.rejects("add:evil", "bad-signature").await;
}

#[tokio::test]
async fn a_signature_may_cover_the_index_or_the_selected_manifest() {
    let registry = DockerRegistry::start().await;
    let pusher = registry.pusher();
    let key = Key::new(Algorithm::P256);
    let site = Site::start(registry.host(), &[("PROXY_VERIFY_KEY", &key.pem())]).await;
    let modules = [0, 1, 2].map(made_up);
    let chosen = modules.each_ref().map(|module| Artifact::wasm(module));
    let others = [3, 4, 5].map(|seed| Artifact::wasm(&made_up(seed)));
    let repositories = ["index-signed", "chosen-signed", "other-signed"];
    let mut indexes = Vec::new();
    for ((repository, chosen), other) in repositories.iter().zip(&chosen).zip(&others) {
        let index = Artifact::index().with("linux/amd64", other.clone()).with("wasi/wasm", chosen.clone());
        index.push(pusher, repository, "latest").await;
        indexes.push(index);
    }
    for (repository, subject) in repositories.iter().zip([&indexes[0], &chosen[1], &others[2]]) {
        let (tag, signature) = signed(&key, subject);
        signature.push(pusher, repository, &tag).await;
    }

    site.delivers("index-signed", &modules[0]).await;
    site.delivers("chosen-signed", &modules[1]).await;
    site.rejects("other-signed", "unsigned").await;
    // Requested by its own digest, a manifest has no signed index above it.
    site.rejects(&format!("index-signed@{}", chosen[0].digest()), "unsigned").await;
}

/// What a daemon without a key has stored is verified by one with a key.
#[tokio::test]
async fn a_cached_module_is_verified_as_well() {
    let registry = DockerRegistry::start().await;
    let module = made_up(0);
    let artifact = Artifact::wasm(&module);
    artifact.push(registry.pusher(), "add", "latest").await;
    let references = ["add", &format!("add@{}", artifact.digest())];
    let mut site = Site::start(registry.host(), &[]).await;
    for app_name in references {
        site.delivers(app_name, &module).await;
    }
    site.kill().await;
    site.restart(&[("PROXY_VERIFY_KEY", &Key::new(Algorithm::P256).pem())]).await;
    for app_name in references {
        site.rejects(app_name, "unsigned").await;
    }
}

#[tokio::test]
async fn unusable_keys_prevent_the_start() {
    let key = Key::new(Algorithm::P256);
    let garbage = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&garbage, "garbage").expect("write the file");
    for keys in [
        "/absent/cosign.pub",
        &format!("{},/absent/cosign.pub", key.public().display()),
        &garbage.path().display().to_string(),
        &key.private().display().to_string(),
        &Key::new(Algorithm::P521).pem(),
        "-----BEGIN PUBLIC KEY-----\nZ2FyYmFnZQ==\n-----END PUBLIC KEY-----\n",
    ] {
        let log = Daemon::misconfigured(&[("PROXY_VERIFY_KEY", keys)]).await;
        assert!(log.contains("PROXY_VERIFY_KEY"), "{keys}: {log}");
    }
}
