//! What a replica may take at most, measured again and again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::interval;

use super::device::Failure;
use super::replica::Footprint;

const INTERVAL: Duration = Duration::from_millis(250);

/// `PROXY_CACHE_SIZE`, bytes.
pub const CACHE_SIZE: u64 = 1 << 20;
/// More than all modules have together, bytes: what is sent stays in the store whatever its limit.
pub const MODULES_SIZE: u64 = 4 * CACHE_SIZE;
/// Modules that may be open at once, each with a file: `MAX_OPEN_MODULES`.
const OPEN_MODULES: u64 = 256;
/// Sockets: `MAX_CONNECTIONS` twice; lookups and downloads of two registries, `PROXY_MAX_FETCHES` each; and some more.
const SOCKETS: u64 = 2 * 64 + 2 * 2 * 8 + 32;
/// Threads of tokio for blocking calls, which are idle for 10 s before they end.
const BLOCKING_THREADS: u64 = 512;
/// Workers of the runtimes, and threads of the daemon.
const OTHER_THREADS: u64 = 32;

/// The most that a replica took of each resource.
#[derive(Default)]
pub struct Maxima([AtomicU64; RESOURCES.len()]);

struct Resource {
    name: &'static str,
    bound: u64,
    /// Units of this are shown, of bytes for instance MiB.
    unit: u64,
}

const RESOURCES: [Resource; 5] = [
    Resource { name: "MiB of memory", bound: 128 << 20, unit: 1 << 20 },
    Resource { name: "threads", bound: BLOCKING_THREADS + OTHER_THREADS, unit: 1 },
    Resource { name: "descriptors", bound: OPEN_MODULES + SOCKETS, unit: 1 },
    // A quarter more for downloads that were broken off.
    Resource { name: "KiB of store", bound: CACHE_SIZE * 5 / 4 + MODULES_SIZE, unit: 1 << 10 },
    Resource { name: "KiB of state", bound: 8 << 20, unit: 1 << 10 },
];

impl Maxima {
    /// Measures the replicas until one of them takes more than it may; that is the failure.
    pub async fn watch(self: Arc<Self>, replicas: [Footprint; 2]) -> Failure {
        let mut ticks = interval(INTERVAL);
        loop {
            ticks.tick().await;
            for replica in &replicas {
                if let Some(reason) = self.measure(replica) {
                    return Failure { app_name: String::new(), reason };
                }
            }
        }
    }

    fn measure(&self, replica: &Footprint) -> Option<String> {
        let process = replica.process.load(Relaxed);
        let of_process = (process != 0).then(|| of_process(process)).flatten().unwrap_or_default();
        let of_disk = [&replica.store, &replica.state].map(|folder| size(folder));
        let values = of_process.into_iter().chain(of_disk);
        for ((value, maximum), resource) in values.zip(&self.0).zip(RESOURCES) {
            maximum.fetch_max(value, Relaxed);
            let Resource { name, bound, unit } = resource;
            if value > bound {
                return Some(format!("a replica takes {} {name}, more than {}", value / unit, bound / unit));
            }
        }
        None
    }

    /// Returns the most of each resource.
    pub fn summary(&self) -> String {
        let texts = self
            .0
            .iter()
            .zip(RESOURCES)
            .map(|(maximum, resource)| format!("{} {}", maximum.load(Relaxed) / resource.unit, resource.name));
        texts.collect::<Vec<_>>().join(", ")
    }
}

/// Returns the resident bytes, the threads and the descriptors of a process that has not just ended.
fn of_process(process: u32) -> Option<[u64; 3]> {
    let folder = Path::new("/proc").join(process.to_string());
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field =
        |name| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    let descriptors = fs::read_dir(folder.join("fd")).ok()?.count();
    Some([field("VmRSS:")? * 1024, field("Threads:")?, descriptors as u64])
}

/// Returns the disk space of a folder, of which files may vanish meanwhile.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { size(&entry.path()) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}
