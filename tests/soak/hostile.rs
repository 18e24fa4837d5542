//! Who makes trouble: a client that floods its channel, and a registry that accepts connections and stays silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use propeller_proxy::device::Proplet;
use propeller_proxy::mqtt::Acknowledgement;
use tokio::io::{copy, sink};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::clients::client::request;

/// The flooded channel, on which there is no device.
pub const CHANNEL: &str = "flooded";
/// So many requests at once, so often: 400 a second.
const BURST: usize = 20;
const INTERVAL: Duration = Duration::from_millis(50);
/// The interval of requests for modules of the silent registry on a channel of devices.
const HOPE: Duration = Duration::from_millis(500);

/// A registry that answers nothing.
pub struct SilentRegistry {
    pub host: String,
    _accepting: JoinSet<()>,
}

impl SilentRegistry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("the port").to_string();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut connection, _) = listener.accept().await.expect("a connection");
                while open.try_join_next().is_some() {}
                // Until the client closes it, in whatever way.
                open.spawn(async move { drop(copy(&mut connection, &mut sink()).await) });
            }
        });
        Self { host, _accepting: accepting }
    }
}

/// Floods the channel of a client with requests that cannot be served; counts those that the broker took.
pub async fn flood(client: Proplet, silent: String, taken: Arc<AtomicU64>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        ticks.tick().await;
        let burst: Vec<_> = (number..number + BURST).map(|number| unserved(number, &silent)).collect();
        let outcomes = join_all(burst.into_iter().map(|payload| client.publish(payload))).await;
        let received = outcomes.iter().filter(|outcome| **outcome == Acknowledgement::Received).count();
        taken.fetch_add(received as u64, Relaxed);
        number += BURST;
    }
}

/// Requests modules of the silent registry on a channel of devices, as an operator would who does not know that it is.
pub async fn hope(client: Proplet, silent: String) {
    let mut ticks = interval(HOPE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        ticks.tick().await;
        client.publish_request(&format!("{silent}/hoped-for:{number}")).await;
    }
}

/// Returns one of the requests that are malformed, or well-formed and rejected.
fn unserved(number: usize, silent: &str) -> Bytes {
    match number % 10 {
        0 => Bytes::from_static(b"\xff\xfe"),
        1 => "{}".into(),
        2 => format!(r#"{{"app_name": "{}"}}"#, "a".repeat(5000)).into(),
        3 => "[".repeat(4000).into(),
        4 => request(&format!("NOT A NAME {number}")),
        5 | 6 => request(&format!("127.0.0.1:9/not-permitted:{number}")),
        7 | 8 => request(&format!("nothing:{number}")),
        _ => request(&format!("{silent}/app:{number}")),
    }
}
