use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

use super::Puller;
use crate::embedded::layout::Layout;
use crate::embedded::registry::Registry;
use crate::embedded::sample;
use crate::oci::artifact::{Artifact, Shape};
use crate::oci::digest::Digest;
use crate::oci::options::RegistryOptions;
use crate::oci::reference::Reference;
use crate::oci::store::StoreOptions;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A puller with a store in `folder`, and its options.
fn client(host: &str, folder: &Path) -> (Puller, RegistryOptions) {
    let options = RegistryOptions::for_tests(host);
    let store = StoreOptions { folder: folder.to_owned(), is_named: true, limit: 1 << 30 };
    (Puller::new(&options, &store).unwrap(), options)
}

#[tokio::test]
async fn what_was_pulled_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    let (client, options) = client(&registry.host(), &folder.path().join("store"));
    for shape in Shape::ALL {
        let pushed = layout.push("add", shape.name(), &sample::ADD, shape).unwrap();
        let reference = Reference::parse(&format!("add:{shape}"), &options.url).unwrap();
        let meaning = client.resolve(&reference).await.unwrap();
        assert_eq!((meaning.media_type.as_str(), meaning.digest), (MANIFEST, pushed.manifest.digest));
        let pulled = client.pull(&reference).await.unwrap();
        assert_eq!((pulled.root, pulled.shape), (meaning.digest, shape.name()));
        assert_eq!(pulled.layer.digest, pushed.layer.digest);
        assert_eq!(pulled.module.digest(), Digest::of(&sample::ADD), "{shape}");
    }
    let before = registry.requests().len();
    let reference = Reference::parse("add:image", &options.url).unwrap();
    client.resolve(&reference).await.unwrap();
    assert_eq!(registry.requests()[before..], ["HEAD /v2/add/manifests/image"], "the manifest is in the store");
}

#[tokio::test]
async fn a_refusal_of_a_module_is_not_one_of_its_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    let (client, options) = client(&registry.host(), &folder.path().join("store"));
    layout.push("text", "1", b"text", Shape::Image).unwrap();
    let text = Reference::parse("text:1#absent.wasm", &options.url).unwrap();
    assert_eq!(client.pull(&text).await.unwrap_err().code(), "unsupported");
    client.resolve(&text).await.unwrap();

    let absent = Reference::parse("text:2", &options.url).unwrap();
    for _ in 0..2 {
        assert_eq!(client.resolve(&absent).await.unwrap_err().code(), "unknown-image");
    }
    assert_eq!(registry.requests().iter().filter(|request| request.ends_with("/text/manifests/2")).count(), 1);
    let elsewhere = Reference::parse("registry.example/text:1", &options.url).unwrap();
    assert_eq!(client.resolve(&elsewhere).await.unwrap_err().code(), "denied");
    assert_eq!(client.pull(&elsewhere).await.unwrap_err().code(), "denied");
}

#[tokio::test]
async fn faults_are_noticed_or_overcome() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    let (client, options) = client(&registry.host(), &folder.path().join("store"));
    let pushed = layout.push("add", "1", &sample::ADD, Shape::WasmToOci).unwrap();
    let reference = Reference::parse("add:1", &options.url).unwrap();
    registry.fail_next(503, 1);
    registry.tamper(&pushed.layer.digest.to_string()).unwrap();
    assert_eq!(client.pull(&reference).await.unwrap_err().code(), "digest-mismatch");
    registry.fail_next(403, 1);
    assert_eq!(client.pull(&reference).await.unwrap_err().code(), "unauthorized");
}

#[tokio::test]
async fn a_module_is_unpacked_once_for_all_that_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    let (client, options) = client(&registry.host(), &folder.path().join("store"));
    let references: Vec<_> = (0..80)
        .map(|tag| {
            layout.push("add", &tag.to_string(), &sample::ADD, Shape::Image).unwrap();
            Reference::parse(&format!("add:{tag}"), &options.url).unwrap()
        })
        .collect();
    let space = client.unpacked.space.available_permits();
    let pulled = futures_util::future::join_all(references.iter().map(|reference| client.pull(reference))).await;
    assert!(pulled.iter().all(|pulled| pulled.as_ref().unwrap().module.read().unwrap() == sample::ADD));
    assert_eq!(client.unpacked.space.available_permits(), space - 1, "one module of 80 names");
    drop(pulled);
    assert_eq!(client.unpacked.space.available_permits(), space);
    client.pull(&references[0]).await.unwrap();
}

#[tokio::test]
async fn a_silent_registry_delays_no_other() {
    const MANY: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    let registry = Registry::start(folder.path().join("layout")).await.unwrap();
    layout.push("add", "1", &sample::ADD, Shape::Image).unwrap();
    // It accepts connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = silent.local_addr().unwrap();
    let options = RegistryOptions::for_tests(&registry.host()).allow(&elsewhere.to_string());
    let store = StoreOptions { folder: folder.path().join("store"), is_named: true, limit: 1 << 30 };
    let client = Arc::new(Puller::new(&options, &store).unwrap());

    let mut waiting = JoinSet::new();
    for number in 0..MANY {
        let (client, url) = (Arc::clone(&client), options.url.clone());
        waiting.spawn(async move {
            let reference = Reference::parse(&format!("{elsewhere}/app{number}:1"), &url).unwrap();
            client.pull(&reference).await.map(drop)
        });
    }
    let mut held = Vec::new();
    while held.len() < options.max_fetches {
        held.push(silent.accept().await.unwrap());
    }
    for name in ["add:1", "add:1"] {
        let pulled = client.pull(&Reference::parse(name, &options.url).unwrap()).await.unwrap();
        assert_eq!(pulled.module.digest(), Digest::of(&sample::ADD), "fetched, and then from the store");
    }
    assert!(waiting.try_join_next().is_none(), "it waited for the silent registry");
}

#[tokio::test]
async fn a_tag_that_many_request_at_once_is_looked_up_once() {
    const MANY: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (client, options) = client(&listener.local_addr().unwrap().to_string(), folder.path());
    let (client, gate, requests) = (Arc::new(client), Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (held, counted) = (Arc::clone(&gate), Arc::clone(&requests));
    let answer = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let held = Arc::clone(&held);
        async move {
            let _permit = held.acquire().await;
            StatusCode::NOT_FOUND
        }
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async { drop(axum::serve(listener, Router::new().fallback(answer)).await) });

    let mut pulls = JoinSet::new();
    for _ in 0..MANY {
        let (client, url) = (Arc::clone(&client), options.url.clone());
        pulls.spawn(async move { client.pull(&Reference::parse("add:1", &url).unwrap()).await.map(drop) });
    }
    while client.lookups.len() < MANY {
        yield_now().await;
    }
    gate.add_permits(1);
    for pulled in pulls.join_all().await {
        assert_eq!(pulled.unwrap_err().code(), "unknown-image");
    }
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_child_of_an_index_has_the_size_that_the_index_says() {
    let Artifact { manifest, config, layer, .. } = Artifact::pack(sample::ADD.to_vec(), Shape::Image, "add.wasm");
    let answer = move |uri: Uri| {
        let size = manifest.bytes.len() + usize::from(uri.path().contains("/wrong/"));
        let entry = json!({"mediaType": MANIFEST, "digest": manifest.digest.to_string(), "size": size});
        let named = [&manifest, &config, &layer].into_iter().find(|it| uri.path().ends_with(&it.digest.to_string()));
        let index = || json!({"manifests": [entry]}).to_string().into();
        let body = named.map_or_else(index, |packed| packed.bytes.clone());
        async { body }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (client, options) = client(&listener.local_addr().unwrap().to_string(), folder.path());
    let mut tasks = JoinSet::new();
    tasks.spawn(async { drop(axum::serve(listener, Router::new().fallback(answer)).await) });
    let pull = async |name| client.pull(&Reference::parse(name, &options.url).unwrap()).await;
    assert_eq!(pull("wrong/add:1").await.unwrap_err().code(), "size-mismatch");
    assert_eq!(pull("right/add:1").await.unwrap().module.digest(), Digest::of(&sample::ADD));
    assert_eq!(pull("wrong/add:1").await.unwrap_err().code(), "size-mismatch", "it is in the store");
}
