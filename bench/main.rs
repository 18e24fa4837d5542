//! `make bench`: what a delivery takes, measured on a real mosquitto and a real docker-registry.
//!
//! Each row is a daemon of its own, asked once. Times of these rows depend on the machine; the memory does not.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use support::daemon::Daemon;
use support::docker_registry::DockerRegistry;
use support::mosquitto::Mosquitto;
use support::proplet::connect;
use support::wasm_of_size;

/// Sizes of module, bytes.
const SIZES: [usize; 4] = [1_000, 5_000_000, 100_000_000, 500_000_000];
/// Most memory that a daemon may ever have resident, bytes, whatever the size of the module.
const MEMORY_LIMIT: u64 = 40 << 20;

#[tokio::main]
async fn main() {
    let (mosquitto, registry) = (Mosquitto::start().await, DockerRegistry::start().await);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "module, bytes",
        "chunks",
        "seconds",
        "MB/s",
        "peak memory, KiB (VmHWM)",
    ]);
    for size in SIZES {
        let module = wasm_of_size(size);
        registry.pusher().wasm("bench", &size.to_string(), module.clone()).await;
        let daemon = Daemon::between(&mosquitto, &registry).await;
        let proplet = connect(&mosquitto).await;
        let begin = Instant::now();
        let assembled = proplet.request(&format!("bench:{size}")).await;
        let seconds = begin.elapsed().as_secs_f64();
        assert!(assembled.as_deref() == Some(&module[..]), "{size} bytes did not arrive:\n{}", daemon.log());
        daemon.logged("\"delivered\"").await;
        let peak = daemon.peak_memory();
        assert!(peak <= MEMORY_LIMIT, "{size} bytes took {} KiB", peak / 1024);
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = size as f64 / 1e6 / seconds;
        table.add_row([
            size.to_string(),
            proplet.tally().stored.to_string(),
            format!("{seconds:.3}"),
            format!("{rate:.1}"),
            (peak / 1024).to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
