//! Registries that cut, stall, lie and overflow: transient failures are retried, the rest ends within bounds.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use propeller_proxy::embedded::sample;
use propeller_proxy::oci::wasm::MODULE_PREAMBLE;
use serde_json::json;
use tar::{Builder, EntryType, Header};
use tokio::time;

use crate::support::clients::artifacts::Artifact;
use crate::support::faults::faulty_registry::{Fault, FaultyRegistry};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// Requests the modules of all these registries at once, and gets them.
async fn deliver_all(registries: &[FaultyRegistry]) {
    let hosts: Vec<_> = registries.iter().map(FaultyRegistry::host).collect();
    let site = Site::start(hosts[0], &[("PROXY_REGISTRY_ALLOW", &hosts.join(","))]).await;
    join_all(registries.iter().map(async |registry| {
        let assembled = site.proplet().request(&format!("{}/add", registry.host())).await;
        assert!(assembled.as_deref() == Some(registry.module()), "{:?}\n{}", registry.seen(), site.log());
    }))
    .await;
}

/// Places inside a blob, in order, the same for the same seed.
fn places(count: usize, size: usize, seed: u64) -> Vec<usize> {
    let noise = sample::noise(sample::MIN_NOISE + 4 * count, seed);
    let numbers = noise[sample::MIN_NOISE..].as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut places: Vec<_> = numbers.map(|number| 1 + number as usize % (size - 1)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn assert_little_was_sent_twice(registries: &[FaultyRegistry]) {
    let sent: u64 = registries.iter().map(FaultyRegistry::blob_bytes).sum();
    let size: usize = registries.iter().map(|registry| registry.module().len()).sum();
    assert!(sent * 10 <= size as u64 * 11, "{sent} bytes were sent for {size}");
}

#[tokio::test]
async fn a_download_cut_fifty_times_resumes_each_time() {
    let module = wasm_of_size(5_000_000);
    let cuts = places(50, module.len(), 1).into_iter().map(Fault::CutAt);
    let registries = [FaultyRegistry::start(module, cuts.chain([Fault::None])).await];
    deliver_all(&registries).await;
    let asked = registries[0].seen_for("/blobs/").len();
    assert!(asked >= 50, "{asked} requests");
    assert_little_was_sent_twice(&registries);
}

#[tokio::test]
async fn fifty_downloads_cut_once_resume() {
    const SIZE: usize = 100_000;
    let cuts = (SIZE..).zip(places(50, SIZE, 2));
    let start =
        async |(size, place)| FaultyRegistry::start(wasm_of_size(size), [Fault::CutAt(place), Fault::None]).await;
    let registries = join_all(cuts.map(start)).await;
    deliver_all(&registries).await;
    assert_little_was_sent_twice(&registries);
}

/// Each row: what comes instead of the second half, and the ranges that are requested.
#[tokio::test]
async fn a_wrong_answer_to_a_range_request_is_not_appended() {
    const REST: Option<&str> = Some("bytes=10000-");
    let range = |range: &str| Fault::ContentRange(range.to_owned());
    let module = wasm_of_size(20_000);
    let rows = [
        (Fault::None, &[None, REST][..]),
        (range("bytes 10000-19999/*"), &[None, REST]),
        (Fault::WithoutRange, &[None, REST]),
        (range("bytes 0-19999/20000"), &[None, REST, None]),
        (range("bytes 9999-19999/20000"), &[None, REST, None]),
        (range("bytes 10000-19998/20000"), &[None, REST, None]),
        (range("bytes 10000-19999/20001"), &[None, REST, None]),
        (range("bytes 10000-19999"), &[None, REST, None]),
        (range("bytes */20000"), &[None, REST, None]),
        (range(""), &[None, REST, None]),
    ];
    join_all(rows.map(async |(fault, asked)| {
        let faults = [Fault::Truncated, fault.clone(), Fault::None];
        let registry = FaultyRegistry::start(module.clone(), faults).await;
        let site = Site::start(registry.host(), &[]).await;
        site.delivers("add", &module).await;
        let ranges: Vec<_> = registry.seen_for("/blobs/").into_iter().map(|seen| seen.range).collect();
        assert_eq!(ranges.iter().map(Option::as_deref).collect::<Vec<_>>(), asked, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let faults = [408, 429, 500, 502, 503, 504]
        .into_iter()
        .flat_map(|status| [Fault::Status(status), Fault::BlobStatus(status), Fault::TokenStatus(status)]);
    let start = async |(size, fault): (usize, Fault)| {
        FaultyRegistry::start(wasm_of_size(size), [fault.clone(), fault, Fault::None]).await
    };
    deliver_all(&join_all((1000..).zip(faults).map(start)).await).await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let registries = [FaultyRegistry::start(wasm_of_size(1000), [Fault::TryAfter(2), Fault::None]).await];
    deliver_all(&registries).await;
    let asked: Vec<_> = registries[0].seen_for("/manifests/").into_iter().map(|seen| seen.at).collect();
    assert!(asked[1] - asked[0] >= Duration::from_secs(2), "{asked:?}");
}

/// Each row: the lasting fault, its object, the error code, and the number of requests.
#[tokio::test]
async fn lasting_failures_end_the_fetch() {
    let module = wasm_of_size(1000);
    let rows = [
        (Fault::CutAt(0), "/blobs/", "registry-unreachable", 5),
        (Fault::BlobStatus(503), "/blobs/", "registry-answer", 5),
        (Fault::Status(503), "/manifests/", "registry-answer", 5),
        (Fault::TokenStatus(503), "/token", "registry-answer", 5),
        (Fault::TokenWithNewline, "/token", "unauthorized", 1),
        (Fault::TryAfter(3600), "/manifests/", "registry-answer", 1),
        (Fault::Status(400), "/manifests/", "registry-answer", 1),
        (Fault::BlobStatus(404), "/blobs/", "unknown-image", 1),
        (Fault::Tampered, "/blobs/", "digest-mismatch", 1),
    ];
    join_all(rows.map(async |(fault, object, code, requests)| {
        let registry = FaultyRegistry::start(module.clone(), [fault.clone()]).await;
        let site = Site::start(registry.host(), &[]).await;
        site.rejects("add", code).await;
        assert_eq!(registry.seen_for(object).len(), requests, "{fault:?}: {:?}", registry.seen());
    }))
    .await;
}

/// A daemon before a registry that drips, and one that has some modules of 1,000 bytes.
async fn site_before_a_drip(modules: usize) -> (Site, FaultyRegistry, DockerRegistry) {
    let (drip, registry) =
        (FaultyRegistry::start(wasm_of_size(1_000_000), [Fault::Slow]).await, DockerRegistry::start().await);
    for number in 0..modules {
        let module = sample::noise(1000, number as u64);
        registry.pusher().wasm(&format!("app/{number}"), "latest", module.into()).await;
    }
    let variables = [("PROXY_REGISTRY_ALLOW", drip.host()), ("PROXY_FETCH_TIMEOUT", "20s")];
    let site = Site::start(registry.host(), &variables).await;
    (site, drip, registry)
}

async fn begin_to_drip(site: &Site, drip: &FaultyRegistry) {
    site.proplet().publish_request(&format!("{}/drip", drip.host())).await;
    site.daemon().event("fetching").await;
}

#[tokio::test]
async fn a_registry_that_drips_delays_no_other_request_and_times_out() {
    const LIMIT: Duration = Duration::from_secs(40);
    let (site, drip, _registry) = site_before_a_drip(20).await;
    begin_to_drip(&site, &drip).await;
    for number in 0..20 {
        // This fails at any failure, also that of the drip, which is open all the while.
        site.delivers(&format!("app/{number}"), &sample::noise(1000, number)).await;
    }
    let given_up = time::timeout(LIMIT, site.daemon().failure("registry-unreachable")).await;
    assert!(given_up.is_ok(), "{}", site.log());
    assert_eq!(drip.seen_for("/blobs/").len(), 1, "it was tried again");
}

#[tokio::test]
#[ignore = "measures time, which wants an idle machine"]
async fn a_registry_that_drips_adds_under_a_fifth_to_the_latency_of_others() {
    const DELIVERIES: usize = 40;
    let (site, drip, _registry) = site_before_a_drip(2 * DELIVERIES).await;
    let median = async |first: usize| {
        let mut times = Vec::new();
        for number in first..first + DELIVERIES {
            let begin = Instant::now();
            site.delivers(&format!("app/{number}"), &sample::noise(1000, number as u64)).await;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        times[DELIVERIES / 2]
    };
    let alone = median(0).await;
    begin_to_drip(&site, &drip).await;
    let beside = median(DELIVERIES).await;
    assert!(beside < alone.mul_f64(1.2), "{beside:?} instead of {alone:?}");
}

/// How much more memory a daemon may ever have had after an attack than before it, bytes.
const GROWTH: u64 = 16 << 20;

/// Sees a request fail with one of `codes`, and what that took.
async fn assert_bounded(site: &Site, app_name: &str, codes: &[&str]) {
    let before = site.daemon().peak_memory();
    let failure = site.request(app_name).await.expect_err("a refusal");
    assert!(codes.iter().any(|code| failure["code"] == *code), "{app_name}: {failure}");
    let growth = site.daemon().peak_memory() - before;
    assert!(growth < GROWTH, "{app_name} took {} KiB more", growth >> 10);
}

#[tokio::test]
async fn memory_does_not_grow_with_registry_responses() {
    for (fault, code) in [
        (Fault::HugeManifest, "too-large"),
        (Fault::ManifestOfLength(400_000_000), "too-large"),
        (Fault::EndlessToken, "too-large"),
        (Fault::Overlong, "size-mismatch"),
    ] {
        let good = FaultyRegistry::start(wasm_of_size(1000), []).await;
        let bad = FaultyRegistry::start(wasm_of_size(2000), [fault]).await;
        let site = Site::start(good.host(), &[("PROXY_REGISTRY_ALLOW", bad.host())]).await;
        site.delivers("add", good.module()).await;
        assert_bounded(&site, &format!("{}/add", bad.host()), &[code]).await;
    }
}

type Layer = Builder<GzEncoder<Vec<u8>>>;

/// What a bomb unpacks to, bytes.
const UNPACKED: u64 = 256 << 20;
const MODULE: &str = "add.wasm";

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).expect("a short name");
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn append_module(layer: &mut Layer) -> io::Result<()> {
    layer.append(&header(EntryType::Regular, MODULE, MODULE_PREAMBLE.len() as u64), MODULE_PREAMBLE.as_slice())
}

/// Appends an entry that is nearly all filler.
fn append_filler(layer: &mut Layer, kind: EntryType, name: &str, filler: u8) -> io::Result<()> {
    let bytes = MODULE_PREAMBLE.chain(io::repeat(filler)).take(UNPACKED);
    layer.append(&header(kind, name, UNPACKED), bytes)
}

/// Appends a module of one block, followed by a hole: zeros that are not even in the archive.
fn append_sparse_module(layer: &mut Layer) -> io::Result<()> {
    const BLOCK: usize = 512;
    let octal = |number: u64| <[u8; 12]>::try_from(format!("{number:011o}\0").as_bytes()).expect("12 bytes");
    let mut header = header(EntryType::GNUSparse, MODULE, BLOCK as u64);
    let fields = header.as_gnu_mut().expect("a header of GNU tar");
    fields.realsize = octal(UNPACKED);
    fields.sparse[0].numbytes = octal(BLOCK as u64);
    fields.sparse[0].offset = octal(0);
    fields.sparse[1].numbytes = octal(0);
    fields.sparse[1].offset = octal(UNPACKED);
    header.set_cksum();
    let mut block = [0; BLOCK];
    block[..MODULE_PREAMBLE.len()].copy_from_slice(&MODULE_PREAMBLE);
    layer.append(&header, block.as_slice())
}

#[tokio::test]
async fn memory_does_not_grow_with_unpacked_archives() {
    type Fill = fn(&mut Layer) -> io::Result<()>;
    let bombs: [(&str, Fill, &[&str]); 6] = [
        ("module", |layer| append_filler(layer, EntryType::Regular, MODULE, 0), &["too-large"]),
        ("hole", append_sparse_module, &["too-large", "unsupported"]),
        (
            "other-file",
            |layer| append_filler(layer, EntryType::Regular, "other", 0).and_then(|()| append_module(layer)),
            &["too-large"],
        ),
        (
            "long-name",
            |layer| append_filler(layer, EntryType::GNULongName, "name", b'a').and_then(|()| append_module(layer)),
            &["too-large", "unsupported"],
        ),
        (
            "extension",
            |layer| append_filler(layer, EntryType::XHeader, "extension", b'a').and_then(|()| append_module(layer)),
            &["too-large", "unsupported"],
        ),
        (
            "zeros",
            |layer| io::copy(&mut io::repeat(0).take(UNPACKED), layer.get_mut()).and_then(|_| append_module(layer)),
            &["too-large", "unsupported"],
        ),
    ];
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    for (name, fill, codes) in bombs {
        let mut layer = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut layer).expect("fill a layer");
        let layer = layer.into_inner().and_then(GzEncoder::finish).expect("compress a layer");
        let image = Artifact::image(&json!({})).layer("application/vnd.oci.image.layer.v1.tar+gzip", layer);
        image.push(registry.pusher(), name, "latest").await;
        let site = Site::start(registry.host(), &[("PROXY_MAX_MODULE_SIZE", "64MiB")]).await;
        site.delivers("add", &module).await;
        assert_bounded(&site, name, codes).await;
    }
}

#[tokio::test]
async fn a_nested_index_is_not_followed() {
    let registry = DockerRegistry::start().await;
    let inner = Artifact::index().with("wasi/wasm", Artifact::wasm(&wasm_of_size(1000)));
    Artifact::index().with("wasi/wasm", inner).push(registry.pusher(), "nested", "latest").await;
    Site::start(registry.host(), &[]).await.rejects("nested", "unsupported").await;
}
