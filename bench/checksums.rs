//! What it costs to read a stored module in chunks: as the sender does, with checksums, and as a plain file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use propeller_proxy::config::{self, Sources};
use propeller_proxy::oci::pull::Puller;
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::service::ServiceOptions;

use super::sample::{Sample, megabytes};
use super::site::Site;
use crate::support::wasm_of_size;

const SIZE: usize = 100_000_000;
const CHUNK: usize = 512_000;
const ROUNDS: usize = 10;

/// Processor time for each MB, milliseconds.
pub struct Reading {
    pub checked: Sample,
    pub plain: Sample,
}

pub async fn measure(site: &Site) -> Reading {
    let module = wasm_of_size(SIZE);
    site.registry.pusher().wasm("bench/checksums", "latest", module.clone()).await;
    let folder = tempfile::tempdir().expect("a folder for the store");
    let registry = site.registry.host().to_owned();
    let variable = |name: &str| match name {
        "PROXY_REGISTRY_URL" => Some(registry.clone().into()),
        "PROXY_DOMAIN_ID" | "PROXY_CHANNEL_ID" => Some("x".into()),
        "PROXY_CACHE_DIR" | "PROXY_STATE_DIR" => Some(folder.path().join(name).into()),
        _ => None,
    };
    let options = config::load::<ServiceOptions>(&Sources::of_variables(variable)).expect("a configuration");
    let puller = Puller::new(&options.registry, &options.store).expect("a puller");
    let reference = Reference::parse("bench/checksums", &options.registry.url).expect("a reference");
    let blob = puller.pull(&reference).await.expect("the module").module;
    let mut file = tempfile::NamedTempFile::new_in(folder.path()).expect("a file");
    file.write_all(&module).expect("write it");

    let (mut checked, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        checked.push(read(|buffer, offset| blob.read_at(buffer, offset).expect("a chunk")));
        plain.push(read(|buffer, offset| File::read_exact_at(file.as_file(), buffer, offset).expect("a chunk")));
    }
    Reading { checked: Sample::of(checked), plain: Sample::of(plain) }
}

/// Reads all chunks; returns the processor time for each MB, milliseconds.
fn read(mut read: impl FnMut(&mut [u8], u64)) -> f64 {
    let mut buffer = vec![0; CHUNK];
    let before = processor_time();
    for offset in (0..SIZE).step_by(CHUNK) {
        let length = CHUNK.min(SIZE - offset);
        read(&mut buffer[..length], offset as u64);
    }
    processor_time().saturating_sub(before).as_secs_f64() * 1e3 / megabytes(SIZE)
}

/// The time that this thread has run.
fn processor_time() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("the times of this thread");
    let nanoseconds = times.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}
