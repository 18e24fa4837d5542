//! A small module in the store, requested repeatedly: how long one delivery takes.

use super::sample::Sample;
use super::site::Site;
use crate::support::wasm_of_size;

/// Size of the module, bytes: one chunk.
const SIZE: usize = 50_000;
const REQUESTS: usize = 400;
const APP_NAME: &str = "bench/small";

/// Returns the milliseconds from request to last chunk at this QoS.
pub async fn measure(site: &mut Site, qos: &str) -> Sample {
    site.registry.pusher().wasm(APP_NAME, "latest", wasm_of_size(SIZE)).await;
    let proxy = site.proxy(&[("PROXY_MQTT_QOS", qos)]).await;
    site.time(&proxy.channel, APP_NAME, 1).await;
    let mut times = Vec::new();
    for done in 1..=REQUESTS {
        // A request before the broker's last acknowledgement would join the transfer, which adds a pass.
        proxy.delivered(done).await;
        times.push(site.time(&proxy.channel, APP_NAME, 1).await.0);
    }
    Sample::milliseconds(&times)
}
