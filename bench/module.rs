//! Modules to deliver, and their chunk messages.

use std::convert::Infallible;

use base64_simd::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use propeller_proxy::embedded::sample;
use reqwest::{Body, header::LOCATION};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::clients::push::{self, MANIFEST};
use crate::support::servers::docker_registry::DockerRegistry;

/// Bytes of module in one chunk, the daemon's default.
pub const CHUNK_SIZE: usize = 512_000;
/// Bytes of each block of a streamed module.
const BLOCK_SIZE: usize = 1_000_000;
/// Bytes of the Wasm preamble, before the first section.
const PREAMBLE_SIZE: usize = 8;

/// Returns the messages of wire protocol 1 that carry `module`.
pub fn messages(app_name: &str, module: &[u8]) -> Vec<Vec<u8>> {
    let total = module.len().div_ceil(CHUNK_SIZE);
    let message = |(index, chunk): (usize, &[u8])| {
        let data = STANDARD.encode_to_string(chunk);
        format!(r#"{{"app_name":"{app_name}","chunk_idx":{index},"total_chunks":{total},"data":"{data}"}}"#).into()
    };
    module.chunks(CHUNK_SIZE).enumerate().map(message).collect()
}

/// Reassembles one module from chunks in order.
#[derive(Default)]
pub struct Reassembly {
    hasher: Sha256,
    chunks: u64,
}

impl Reassembly {
    /// Hashes a message; returns the digest of the module after the last one.
    pub fn take(&mut self, message: &[u8]) -> Option<String> {
        let message: serde_json::Value = serde_json::from_slice(message).expect("a message in JSON");
        assert_eq!(message["chunk_idx"], self.chunks, "a chunk is missing, or came out of order");
        let data = message["data"].as_str().expect("data");
        self.hasher.update(STANDARD.decode_to_vec(data).expect("data in base64"));
        self.chunks += 1;
        (message["total_chunks"] == self.chunks).then(|| hex(self.hasher.clone()))
    }
}

/// Pushes a module of `blocks` blocks as `{repository}:latest`, streamed, and returns its digest.
pub async fn push_streamed(registry: &DockerRegistry, repository: &str, blocks: u64) -> String {
    let mut hasher = Sha256::new();
    (0..blocks).for_each(|index| hasher.update(block(index)));
    let digest = hex(hasher);
    let client = push::client(None);
    let uploads = format!("{}/v2/{repository}/blobs/uploads/", registry.url());
    let upload = client.post(uploads).send().await.expect("begin an upload");
    let mut url = upload.headers()[LOCATION].to_str().expect("a location in ASCII").parse::<reqwest::Url>();
    url.as_mut().expect("where to upload").query_pairs_mut().append_pair("digest", &digest);
    let body = stream::iter((0..blocks).map(|index| Ok::<_, Infallible>(block(index))));
    let answer = client.put(url.expect("where to upload")).body(Body::wrap_stream(body)).send().await;
    let status = answer.expect("push a blob").status();
    assert!(status.is_success(), "the registry refused the blob: {status}");

    let pusher = registry.pusher();
    pusher.blob(repository, Bytes::from_static(b"{}")).await;
    let mut manifest = push::wasm_manifest(b"");
    manifest["layers"][0]["digest"] = digest.as_str().into();
    manifest["layers"][0]["size"] = json!(blocks * BLOCK_SIZE as u64);
    pusher.manifest(repository, "latest", &manifest, MANIFEST).await;
    digest
}

/// Returns one block of a module: a custom section, with the preamble before the first.
fn block(index: u64) -> Bytes {
    let missing = if index == 0 { 0 } else { PREAMBLE_SIZE };
    Bytes::from(sample::noise(BLOCK_SIZE + missing, index)).slice(missing..)
}

fn hex(hasher: Sha256) -> String {
    format!("sha256:{:x}", Bytes::copy_from_slice(&hasher.finalize()))
}
