//! Many requests at once.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use propeller_proxy::device::Assemblies;
use propeller_proxy::embedded::sample;
use propeller_proxy::mqtt::request::TASK_TIMEOUT;
use tokio::time;

use super::module::CHUNK_SIZE;
use super::site::{Site, answers};
use crate::support::{digest, wasm_of_size};

/// Time without a message after which no more passes follow: more than the 6 s between repeated passes.
const SILENCE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(20);
/// Uploads at once.
const UPLOADS: usize = 8;

/// The outcome of requests for many modules.
pub struct Distinct {
    /// Modules that arrived with the right digest.
    pub delivered: usize,
    /// Seconds from the first request to the last module that arrived.
    pub seconds: f64,
}

/// The outcome of many requests for one module.
pub struct Shared {
    /// Passes that were published, a partial one counted as one.
    pub passes: usize,
    /// Requests for the blob at the registry.
    pub fetches: usize,
    /// Seconds from the first request until the module was complete for the first time.
    pub seconds: f64,
}

/// Requests `count` small modules at once, none of which is in the store.
pub async fn distinct(site: &mut Site, count: usize) -> Distinct {
    const SIZE: usize = 50_000;
    let names: Vec<_> = (0..count).map(|index| format!("bench/distinct-{index}")).collect();
    let registry = site.registry.pusher();
    let uploads = names.iter().zip(0..).map(async |(name, seed)| {
        let module = Bytes::from(sample::noise(SIZE, seed));
        registry.wasm(name, "latest", module).await.module
    });
    let pushed: Vec<_> = stream::iter(uploads).buffered(UPLOADS).collect().await;

    let proxy = site.proxy(&[]).await;
    let answers = Answers::on(site, &proxy.channel);
    let begin = Instant::now();
    site.request(&proxy.channel, &names);
    while answers.count() < count && begin.elapsed() < TASK_TIMEOUT {
        time::sleep(POLL).await;
    }
    let end = answers.last().unwrap_or(begin);
    let mut devices = answers.assemble();
    let delivered = names.iter().zip(&pushed).filter(|(name, pushed)| arrived(&mut devices, name, pushed)).count();
    Distinct { delivered, seconds: (end - begin).as_secs_f64() }
}

/// Requests one module `count` times at once.
pub async fn shared(site: &mut Site, count: usize) -> Shared {
    const SIZE: usize = 5_000_000;
    const APP_NAME: &str = "bench/shared";
    let chunks = SIZE.div_ceil(CHUNK_SIZE);
    let pushed = site.registry.pusher().wasm(APP_NAME, "latest", wasm_of_size(SIZE)).await.module;

    let proxy = site.proxy(&[]).await;
    let answers = Answers::on(site, &proxy.channel);
    let begin = Instant::now();
    site.request(&proxy.channel, &vec![APP_NAME; count]);
    while answers.last().unwrap_or(begin).elapsed() < SILENCE {
        time::sleep(POLL).await;
    }
    assert!(arrived(&mut answers.assemble(), APP_NAME, &pushed), "{APP_NAME} did not arrive\n{}", proxy.daemon.log());
    let fetch = format!("GET /v2/{APP_NAME}/blobs/{pushed}");
    Shared {
        passes: answers.count().div_ceil(chunks),
        fetches: site.registry.log().lines().filter(|line| line.contains(&fetch)).count(),
        seconds: (answers.at(chunks - 1) - begin).as_secs_f64(),
    }
}

/// Takes a module from `devices`, and returns whether it has this digest.
fn arrived(devices: &mut Assemblies, app_name: &str, pushed: &str) -> bool {
    devices.take(app_name).is_some_and(|module| digest(&module) == pushed)
}

/// The messages on the answer topic of a channel, and when they arrived.
struct Answers(Arc<Mutex<Vec<Message>>>);

struct Message {
    arrived: Instant,
    text: Vec<u8>,
}

impl Answers {
    fn on(site: &Site, channel: &str) -> Self {
        let received = Arc::<Mutex<Vec<_>>>::default();
        let messages = Arc::clone(&received);
        site.subscriber.listen(answers(channel), move |arrived, message| {
            messages.lock().expect("the messages").push(Message { arrived, text: message.to_vec() });
        });
        Self(received)
    }

    fn count(&self) -> usize {
        self.messages().len()
    }

    /// When the message of this number arrived.
    fn at(&self, number: usize) -> Instant {
        self.messages()[number].arrived
    }

    fn last(&self) -> Option<Instant> {
        self.messages().last().map(|message| message.arrived)
    }

    /// Assembles the messages as a device does.
    fn assemble(&self) -> Assemblies {
        let mut devices = Assemblies::default();
        for Message { arrived, text } in &*self.messages() {
            devices.receive(text, *arrived);
        }
        devices
    }

    fn messages(&self) -> MutexGuard<'_, Vec<Message>> {
        self.0.lock().expect("the messages")
    }
}
