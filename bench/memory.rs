//! Modules of several sizes, each delivered once by a new daemon: how much memory that takes.

use super::module::{self, Reassembly};
use super::site::Site;
use crate::support::wasm_of_size;

/// The peak of resident memory, by the size of the module.
pub struct Peak {
    pub module: &'static str,
    pub bytes: u64,
}

pub async fn measure(site: &mut Site) -> Vec<Peak> {
    let mut peaks = Vec::new();
    for (module, size) in [("1 kB", 1_000), ("100 MB", 100_000_000)] {
        let repository = format!("bench/memory-{size}");
        let pushed = site.registry.pusher().wasm(&repository, "latest", wasm_of_size(size)).await;
        peaks.push(Peak { module, bytes: deliver(site, &repository, &pushed.module).await });
    }
    let repository = "bench/memory-huge";
    let digest = module::push_streamed(&site.registry, repository, 1_000).await;
    peaks.push(Peak { module: "1 GB", bytes: deliver(site, repository, &digest).await });
    peaks
}

async fn deliver(site: &mut Site, app_name: &str, digest: &str) -> u64 {
    let proxy = site.proxy(&[]).await;
    let mut module = Reassembly::default();
    let arrived = site.request_until(&proxy.channel, app_name, move |_, message| module.take(message)).await;
    assert_eq!(arrived, digest, "{app_name}");
    proxy.delivered(1).await;
    proxy.daemon.peak_memory()
}
