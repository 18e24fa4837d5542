//! Artifacts of every shape that publishers' tools make, each pushed to a real registry: the module arrives byte for
//! byte, or nothing is published and the log has the reason.

use std::fs;

use propeller_proxy::embedded::sample::{self, ADD};
use propeller_proxy::oci::wasm::{COMPONENT_PREAMBLE, MODULE_PREAMBLE};
use serde_json::json;

use crate::support::clients::archives::{Entry, files, gzip, in_halves, tar, zstd, zstd_with_window};
use crate::support::clients::artifacts::Artifact;
use crate::support::clients::log::failures_with;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::{digest, path};

const WASM: &str = "application/wasm";
const CONTENT: &str = "application/vnd.wasm.content.layer.v1+wasm";
const MODULE: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const COMPONENT: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_TAR_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const BYTES: &str = "application/octet-stream";
const VARIANT: &str = "module.wasm.image/variant";

/// A path that does not fit into the 100 bytes of a tar's header.
const LONG_PATH: &str = "usr/local/share/a-folder-with-quite-some-name/and-another-one-with-even-more-of-it/\
                         and-the-last-one-on-the-way-to-the-module/app.wasm";

/// A second module, which is not delivered.
const OTHER: &[u8] = &MODULE_PREAMBLE;

/// What is around `wasm`, the module that is to be delivered.
type Shape = fn(wasm: &[u8]) -> Artifact;

/// An artifact as wkg pushes it (CNCF TAG Runtime, "Wasm OCI Artifact layout").
fn cncf(wasm: &[u8]) -> Artifact {
    let config = json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [digest(wasm)] }).to_string();
    Artifact::new("application/vnd.wasm.config.v0+json", &config).layer(WASM, wasm)
}

/// An image of one layer, which runs `/app.wasm`.
fn image(layer_type: &str, layer: impl AsRef<[u8]>) -> Artifact {
    Artifact::image(&json!({ "Entrypoint": ["/app.wasm"] })).layer(layer_type, layer)
}

/// An image without an entrypoint.
fn silent_image(layer_type: &str, layer: impl AsRef<[u8]>) -> Artifact {
    Artifact::image(&json!({})).layer(layer_type, layer)
}

/// An image as `docker build` makes it, which runs `/app.wasm`.
fn docker_image(wasm: &[u8]) -> Artifact {
    let layer = tar(&[Entry::File("app.wasm", wasm), Entry::Folder("lib/"), Entry::File("lib/other.wasm", &ADD)]);
    Artifact::docker_image(&json!({ "Entrypoint": ["/app.wasm"] })).layer(DOCKER_TAR_GZIP, gzip(&layer))
}

/// What `oras push` makes of files that follow.
fn oras() -> Artifact {
    Artifact::new("application/vnd.oci.empty.v1+json", "{}").kind("application/vnd.unknown.artifact.v1")
}

/// A Spin application of one component, with its files.
fn spin(wasm: &[u8]) -> Artifact {
    Artifact::new("application/vnd.fermyon.spin.application.v1+config", r#"{"spin_lock_version":1}"#)
        .layer(CONTENT, wasm)
        .layer("application/vnd.wasm.content.layer.v1+data", "a page of the application")
        .layer("application/vnd.wasm.content.bundle.v1.tar+gzip", gzip(&files(&[("other.wasm", &ADD)])))
}

/// What follows `#` is a selector, `{digest}` in it the module's.
const SHAPES: &[(&str, Shape)] = &[
    ("wasm-to-oci", Artifact::wasm),
    ("cncf", cncf),
    ("runwasi-component-layer", |wasm| Artifact::image(&json!({})).layer(COMPONENT, wasm)),
    ("runwasi-wasm-layer", |wasm| Artifact::image(&json!({})).layer(WASM, wasm)),
    ("istio-oci", |wasm| Artifact::new("application/vnd.module.wasm.config.v1+json", "{}").layer(MODULE, wasm)),
    ("wasmcloud", |wasm| Artifact::new("application/vnd.wasmcloud.actor.archive.config", "{}").layer(MODULE, wasm)),
    ("other-wasm-type", |wasm| oras().layer("text/plain", "a text").layer("application/vnd.acme.tool.v1+wasm", wasm)),
    // Images whose layer is an archive.
    ("docker", docker_image),
    ("oci-tar", |wasm| image(TAR, files(&[("README", b"text"), ("app.wasm", wasm), ("other.wasm", &ADD)]))),
    ("oci-tar-gzip", |wasm| image(TAR_GZIP, gzip(&files(&[("other.wasm", &ADD), ("app.wasm", wasm)])))),
    ("oci-tar-zstd", |wasm| image(TAR_ZSTD, zstd(&files(&[("other.wasm", &ADD), ("app.wasm", wasm)])))),
    ("by-cmd", |wasm| {
        let layer = files(&[("other.wasm", &ADD), ("bin/app.wasm", wasm)]);
        Artifact::image(&json!({ "Cmd": ["/bin/app.wasm", "--verbose"] })).layer(TAR, layer)
    }),
    ("by-entrypoint-before-cmd", |wasm| {
        let layer = files(&[("other.wasm", &ADD), ("app.wasm", wasm)]);
        Artifact::image(&json!({ "Entrypoint": ["app.wasm"], "Cmd": ["/other.wasm"] })).layer(TAR, layer)
    }),
    ("by-a-name-of-another-kind", |wasm| {
        let layer = files(&[("other.wasm", &ADD), ("app", wasm)]);
        Artifact::image(&json!({ "Entrypoint": ["/app"] })).layer(TAR, layer)
    }),
    ("the-only-one", |wasm| silent_image(TAR, files(&[("etc/app.txt", b"text"), ("usr/share/app.wasm", wasm)]))),
    ("the-only-one-beside-marks", |wasm| {
        silent_image(TAR, files(&[(".wh.old.wasm", b""), ("._app.wasm", &[0, 5, 22, 7]), ("app.wasm", wasm)]))
    }),
    ("in-the-last-layer", |wasm| image(TAR, files(&[("app.wasm", &ADD)])).layer(TAR, files(&[("app.wasm", wasm)]))),
    ("path-with-a-dot", |wasm| image(TAR, files(&[("./other.wasm", &ADD), ("./app.wasm", wasm)]))),
    ("path-from-the-root", |wasm| image(TAR, files(&[("/other.wasm", &ADD), ("/app.wasm", wasm)]))),
    ("path-in-a-gnu-record", |wasm| {
        let layer = tar(&[Entry::File("other.wasm", &ADD), Entry::File(LONG_PATH, wasm)]);
        Artifact::image(&json!({ "Entrypoint": [LONG_PATH] })).layer(TAR, layer)
    }),
    ("path-in-a-pax-record", |wasm| {
        let layer = tar(&[Entry::File("other.wasm", &ADD), Entry::Pax(LONG_PATH, wasm)]);
        Artifact::image(&json!({ "Entrypoint": [LONG_PATH] })).layer(TAR, layer)
    }),
    ("istio-compat", |wasm| {
        let layer = gzip(&files(&[("other.wasm", &ADD), ("plugin.wasm", wasm)]));
        silent_image(TAR_GZIP, layer).annotated(VARIANT, "compat")
    }),
    ("crun-compat", |wasm| {
        let layer = gzip(&files(&[("app.wasm", wasm), ("other.wasm", &ADD)]));
        image(TAR_GZIP, layer).annotated(VARIANT, "compat").annotated("run.oci.handler", "wasm")
    }),
    ("crun-compat-smart", |wasm| {
        let layer = gzip(&files(&[("app.wasm", wasm)]));
        silent_image(TAR_GZIP, layer).annotated(VARIANT, "compat-smart").annotated("run.oci.handler", "wasm")
    }),
    ("gzip-of-several-members", |wasm| image(TAR_GZIP, in_halves(gzip, &files(&[("app.wasm", wasm)])))),
    ("zstd-of-several-frames", |wasm| image(TAR_ZSTD, in_halves(zstd, &files(&[("app.wasm", wasm)])))),
    ("zstd-with-the-largest-window", |wasm| image(TAR_ZSTD, zstd_with_window(23, &files(&[("app.wasm", wasm)])))),
    // Tools that got the media type wrong.
    ("tar-said-to-be-gzip", |wasm| image(TAR_GZIP, files(&[("app.wasm", wasm)]))),
    ("gzip-said-to-be-tar", |wasm| image(TAR, gzip(&files(&[("app.wasm", wasm)])))),
    ("gzip-said-to-be-zstd", |wasm| image(TAR_ZSTD, gzip(&files(&[("app.wasm", wasm)])))),
    ("zstd-said-to-be-gzip", |wasm| image(TAR_GZIP, zstd(&files(&[("app.wasm", wasm)])))),
    // Indexes.
    ("oci-index", |wasm| {
        Artifact::index().with("linux/amd64", docker_image(&ADD)).with_attestation().with("wasip1/wasm", cncf(wasm))
    }),
    ("docker-list", |wasm| {
        let list = Artifact::docker_list().with("wasi/wasm", docker_image(wasm)).with_attestation();
        list.with("linux/arm64", docker_image(&ADD))
    }),
    ("index-of-wasm32", |wasm| {
        Artifact::index().with("wasi/wasm32", cncf(wasm)).with("linux/wasm", cncf(&ADD)).with("wasi/arm", cncf(&ADD))
    }),
    ("index-by-architecture", |wasm| Artifact::index().with("linux/amd64", cncf(&ADD)).with("linux/wasm", cncf(wasm))),
    ("index-by-os", |wasm| Artifact::index().with("linux/amd64", cncf(&ADD)).with("wasip2/amd64", cncf(wasm))),
    ("index-of-one-twice", |wasm| {
        let index = Artifact::index().with("linux/amd64", cncf(wasm)).with("wasi/wasm", cncf(wasm));
        index.with("linux/arm64", docker_image(&ADD))
    }),
    ("index-of-one", |wasm| Artifact::index().with("linux/amd64", docker_image(wasm)).with_attestation()),
    ("index-without-platforms", |wasm| Artifact::index().with_any(docker_image(wasm)).with_attestation()),
    // Files that were pushed as they are.
    ("oras", |wasm| oras().file("app.wasm", BYTES, wasm)),
    ("oras-as-tar", |wasm| oras().file("app.wasm", TAR, wasm)),
    ("oras-without-a-title", |wasm| oras().layer(BYTES, wasm)),
    ("oras-with-other-files", |wasm| oras().file("README.md", TAR, "text").file("app.wasm", TAR, wasm)),
    ("oras-folder", |wasm| oras().file("app", TAR_GZIP, gzip(&files(&[("app/app.wasm", wasm), ("app/LICENSE", b"")])))),
    // Several modules.
    ("spin", spin),
    ("spin-image", |wasm| {
        let locked = r#"{"spin_lock_version":1}"#;
        silent_image("application/vnd.fermyon.spin.application.v1+config", locked).layer(CONTENT, wasm)
    }),
    ("spin-by-digest#{digest}", |wasm| spin(&ADD).layer(CONTENT, wasm)),
    ("by-title#lib/app.wasm", |wasm| cncf(&ADD).file("app.wasm", WASM, OTHER).file("lib/app.wasm", WASM, wasm)),
    ("oras-by-title#app.wasm", |wasm| oras().file("other.wasm", TAR, ADD).file("app.wasm", TAR, wasm)),
    ("by-path#lib/chosen.wasm", |wasm| {
        let layer = files(&[("app.wasm", &ADD), ("plugin.wasm", &ADD), ("./lib/chosen.wasm", wasm)]);
        image(TAR_GZIP, gzip(&layer)).annotated(VARIANT, "compat")
    }),
    ("by-path-in-an-index#chosen.wasm", |wasm| {
        let layer = files(&[("app.wasm", &ADD), ("chosen.wasm", wasm)]);
        Artifact::index().with("linux/amd64", docker_image(&ADD)).with("wasi/wasm", image(TAR, layer))
    }),
];

/// Returns a module that no other row of a table has, so that nothing comes from the store.
fn made_up(preamble: [u8; 8], seed: usize) -> Vec<u8> {
    let mut module = sample::noise(100_000, seed as u64);
    module[..preamble.len()].copy_from_slice(&preamble);
    module
}

#[tokio::test]
async fn every_artifact_shape_delivers_its_module() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[("PROXY_CHUNK_SIZE", "30000")]).await;
    for (kind, preamble) in [("module", MODULE_PREAMBLE), ("component", COMPONENT_PREAMBLE)] {
        for (seed, (name, shape)) in SHAPES.iter().enumerate() {
            let module = made_up(preamble, seed);
            let app_name = format!("{kind}/{}", name.replace("{digest}", &digest(&module)));
            let repository = app_name.split('#').next().expect("a repository");
            shape(&module).push(registry.pusher(), repository, "latest").await;
            site.delivers(&app_name, &module).await;
        }
    }
}

/// Requests, and gets nothing; the log has the code, and every one of `words` in its message.
async fn rejects_with_words(site: &Site, app_name: &str, code: &str, words: &[&str]) {
    site.rejects(app_name, code).await;
    let failure = failures_with(&site.log(), code).pop().expect("the failure's line");
    let message = failure["message"].as_str().expect("a message");
    assert!(words.iter().all(|word| message.contains(word)), "{app_name}: {message:?} lacks one of {words:?}");
}

#[tokio::test]
async fn an_artifact_without_a_module_or_with_several_is_rejected() {
    let digests = [&*digest(&ADD), &*digest(OTHER)];
    let two_files = files(&[("one.wasm", &ADD), ("lib/other.wasm", OTHER)]);
    let app = files(&[("app.wasm", &ADD)]);
    // The names, which messages repeat, have none of the words.
    let rows: Vec<(&str, &str, &[&str], Artifact)> = vec![
        ("secret", "unsupported", &["encrypted"], oras().layer(&format!("{CONTENT}+encrypted"), ADD)),
        (
            "provider-archive",
            "unsupported",
            &["provider archive"],
            Artifact::new("application/vnd.wasmcloud.provider.archive.config", "{}")
                .layer("application/vnd.wasmcloud.provider.archive.layer.v1+par", &app),
        ),
        ("no-layers", "unsupported", &[], oras()),
        // Several candidates.
        ("several-layers", "ambiguous", &digests, spin(&ADD).layer(CONTENT, OTHER)),
        (
            "several-titles",
            "ambiguous",
            &["one.wasm", "lib/other.wasm"],
            oras().file("one.wasm", WASM, ADD).file("lib/other.wasm", WASM, OTHER),
        ),
        (
            "several-untyped",
            "ambiguous",
            &["one.wasm", "lib/other.wasm"],
            oras().file("one.wasm", TAR, ADD).file("lib/other.wasm", TAR, OTHER),
        ),
        ("several-files", "ambiguous", &["one.wasm", "lib/other.wasm"], silent_image(TAR, &two_files)),
        (
            "several-platforms",
            "ambiguous",
            &["wasip1/wasm", "wasip2/wasm"],
            Artifact::index().with("wasip1/wasm", cncf(&ADD)).with("wasip2/wasm", cncf(OTHER)),
        ),
        // Selectors that name nothing.
        (
            "no-such-title#absent.wasm",
            "unsupported",
            &["absent.wasm", "one.wasm", "lib/other.wasm"],
            oras().file("one.wasm", WASM, ADD).file("lib/other.wasm", WASM, OTHER),
        ),
        ("no-such-path#absent.wasm", "unsupported", &["absent.wasm"], image(TAR, &app)),
        // Indexes.
        (
            "no-wasm-platform",
            "unsupported",
            &["linux/amd64", "linux/arm64"],
            Artifact::index().with("linux/amd64", docker_image(&ADD)).with("linux/arm64", docker_image(OTHER)),
        ),
        ("no-platform", "unsupported", &[], Artifact::index()),
        // Archives.
        ("no-wasm-in-the-archive", "unsupported", &[], silent_image(TAR, files(&[("app.txt", b"text")]))),
        (
            "alias",
            "unsupported",
            &["link"],
            image(TAR, tar(&[Entry::File("app.bin", &ADD), Entry::Symlink("app.wasm", "app.bin")])),
        ),
        (
            "second-name",
            "unsupported",
            &["link"],
            image(TAR, tar(&[Entry::File("app.bin", &ADD), Entry::Hardlink("app.wasm", "app.bin")])),
        ),
        (
            "alias-among-several",
            "unsupported",
            &["link"],
            image(TAR, tar(&[Entry::Symlink("app.wasm", "/etc/hostname"), Entry::File("other.wasm", &ADD)])),
        ),
        ("two-sizes", "unsupported", &["one size"], image(TAR, tar(&[Entry::Resized("app.wasm", &[0; 2048], "512")]))),
        ("too-large-a-window", "unsupported", &[], image(TAR_ZSTD, zstd_with_window(24, &app))),
        ("half-a-gzip", "unsupported", &[], {
            let whole = gzip(&app);
            image(TAR_GZIP, &whole[..whole.len() / 2])
        }),
        // What is no Wasm.
        ("a-text", "not-wasm", &["not a WebAssembly binary"], oras().file("app.wasm", BYTES, "not a module")),
        ("half-a-preamble", "not-wasm", &["not a WebAssembly binary"], cncf(&MODULE_PREAMBLE[..3])),
        ("a-text-as-wasm", "not-wasm", &["not a WebAssembly binary"], cncf(b"not a module")),
        ("an-archive-as-wasm", "not-wasm", &["not a WebAssembly binary"], cncf(&gzip(&app))),
        (
            "a-text-in-an-archive",
            "not-wasm",
            &["not a WebAssembly binary"],
            image(TAR, files(&[("app.wasm", b"not a module")])),
        ),
    ];
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[]).await;
    for (app_name, code, words, artifact) in rows {
        let repository = app_name.split('#').next().expect("a repository");
        artifact.push(registry.pusher(), repository, "latest").await;
        rejects_with_words(&site, app_name, code, words).await;
    }
}

/// The limit is for a module, for a layer, and for all that a layer unpacks to.
#[tokio::test]
async fn a_module_over_the_size_limit_is_rejected() {
    const LIMIT: usize = 64 << 10;
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[("PROXY_MAX_MODULE_SIZE", "64KiB")]).await;

    let largest = sample::noise(LIMIT, 0);
    Artifact::wasm(&largest).push(registry.pusher(), "largest", "latest").await;
    site.delivers("largest", &largest).await;
    let small = sample::noise(LIMIT / 2, 1);
    image(TAR_GZIP, gzip(&files(&[("app.wasm", &small)]))).push(registry.pusher(), "small", "latest").await;
    site.delivers("small", &small).await;

    // These compress to next to nothing.
    let zeros = vec![0; 4_000_000];
    let bomb = [&MODULE_PREAMBLE, zeros.as_slice()].concat();
    let rows = [
        ("module", Artifact::wasm(&sample::noise(LIMIT + 1, 2))),
        ("layer", image(TAR, files(&[("noise", &sample::noise(LIMIT, 3)), ("app.wasm", &ADD)]))),
        ("module-in-gzip", image(TAR_GZIP, gzip(&files(&[("app.wasm", &bomb)])))),
        ("module-in-zstd", image(TAR_ZSTD, zstd(&files(&[("app.wasm", &bomb)])))),
        ("file-before-the-module", image(TAR_GZIP, gzip(&files(&[("zeros", &zeros), ("app.wasm", &ADD)])))),
    ];
    for (app_name, artifact) in rows {
        artifact.push(registry.pusher(), app_name, "latest").await;
        rejects_with_words(&site, app_name, "too-large", &[&LIMIT.to_string()]).await;
    }
}

/// An archive's paths are names of files and never places where anything is written.
#[tokio::test]
async fn archive_paths_outside_the_archive_write_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let [cache, temporary] = ["cache", "temporary"].map(|name| folder.path().join(name));
    fs::create_dir(&temporary).expect("a folder for temporary files");
    let variables = [("PROXY_CACHE_DIR", path(&cache)), ("TMPDIR", path(&temporary))];
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &variables).await;

    let root = folder.path().join("escaped.wasm");
    let root = path(&root);
    let up: Vec<_> = (1..6).map(|folders| format!("{}escaped.wasm", "../".repeat(folders))).collect();
    let up: Vec<_> = up.iter().map(|path| Entry::File(path, &ADD)).collect();
    let module = sample::noise(1000, 0);

    let beside = [&up, &[Entry::File(root, &ADD), Entry::File("app.wasm", &module)][..]].concat();
    image(TAR, tar(&beside)).push(registry.pusher(), "beside", "latest").await;
    site.delivers("beside", &module).await;

    let named = Artifact::image(&json!({ "Entrypoint": [root] })).layer(TAR, tar(&[Entry::File(root, &module)]));
    named.push(registry.pusher(), "root", "latest").await;
    site.delivers("root", &module).await;

    silent_image(TAR, tar(&up[2..3])).push(registry.pusher(), "up", "latest").await;
    site.rejects("up", "unsupported").await;

    let entries = |folder| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut outside: Vec<_> = entries(folder.path()).collect();
    outside.sort();
    assert_eq!(outside, ["cache", "temporary"]);
    assert_eq!(entries(&temporary).count(), 0, "something is left among the temporary files");
}

/// The digest of a manifest in an index names it past the choice of a platform.
#[tokio::test]
async fn a_manifest_digest_selects_a_platform_of_an_index() {
    let registry = DockerRegistry::start().await;
    let site = Site::start(registry.host(), &[]).await;
    let module = sample::noise(1000, 0);
    let chosen = docker_image(&module);
    let digest = chosen.digest();
    let index = Artifact::index().with("wasi/wasm", cncf(&ADD)).with("linux/amd64", chosen);
    index.push(registry.pusher(), "app", "latest").await;
    site.delivers(&format!("app@{digest}"), &module).await;
    site.delivers("app", &ADD).await;
}
