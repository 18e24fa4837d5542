//! A tag that moves from one module to the next of the same size, and all that devices can assemble of its chunks.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use propeller_proxy::device::Assemblies;
use propeller_proxy::embedded::sample;

use crate::support::Variable;
use crate::support::clients::client::Client;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::mosquitto::Mosquitto;

/// Makes [`CHUNKS`] chunks of each module.
pub const CHUNK_SIZE: Variable<'_> = ("PROXY_CHUNK_SIZE", "4000");
pub const CHUNKS: usize = 10;
const SIZE: usize = 40_000;

/// The tag `latest` of one repository.
pub struct MovingTag<'a> {
    pub name: &'a str,
    pub registry: &'a DockerRegistry,
}

impl MovingTag<'_> {
    /// Returns what the tag means after so many moves.
    pub fn module(number: u64) -> Vec<u8> {
        sample::noise(SIZE, number)
    }

    /// Makes the tag mean the module of this number.
    pub async fn move_to(&self, number: u64) {
        self.registry.pusher().wasm(self.name, "latest", Self::module(number).into()).await;
    }

    /// Moves the tag so many times, by turns while nothing is sent and during a transfer. Each time a proplet that was
    /// not there before asks, and gets what the tag meant then.
    pub async fn is_followed(&self, mosquitto: &Mosquitto, client: &Client, moves: u64) {
        for number in 0..moves {
            let moves_during = number % 2 == 0;
            if moves_during {
                self.move_to(number).await;
            }
            let proplet = Arc::new(connect(mosquitto).await);
            let mut task = Task::start(&proplet, self.name);
            if moves_during {
                task.has(2).await;
                self.move_to(number + 1).await;
            }
            let assembled = task.module().await;
            let last = || client.statuses(self.name).pop();
            assert!(assembled.is_some(), "{} {number} did not come: {:?}", self.name, last());
            assert!(assembled == Some(Self::module(number)), "{} {number} came as other bytes", self.name);
            // A request that comes before this joins.
            client.state_again(self.name, "sent", usize::try_from(number).expect("few moves") + 1).await;
        }
    }

    /// Lets devices that begin to listen at many points of what the client received assemble it: one kind takes each
    /// module as soon as it is complete, the other only at the end. All that they get are modules that the tag meant,
    /// at most `moves` of them; and no number of chunks stands for two modules. Returns how many modules the first
    /// device of the first kind got.
    pub fn assert_unmixed(&self, client: &Client, moves: u64) -> usize {
        const DEVICES: usize = 100;
        let known: HashSet<_> = (0..=moves).map(Self::module).collect();
        let chunks = client.chunks(self.name);
        assert!(!chunks.is_empty(), "{} was never sent", self.name);
        let mut of_total = HashMap::new();
        let mut taken = Vec::new();
        for start in (0..chunks.len()).step_by(chunks.len().div_ceil(DEVICES)) {
            let (mut hurried, mut patient) = (Assemblies::default(), Assemblies::default());
            let mut count = 0;
            for chunk in &chunks[start..] {
                hurried.receive(&chunk.payload, Instant::now());
                patient.receive(&chunk.payload, Instant::now());
                let (_, total_chunks) = hurried.progress(self.name);
                if let Some(module) = hurried.take(self.name) {
                    assert!(known.contains(&module), "{}: a mixture, heard from chunk {start} on", self.name);
                    let first = of_total.entry(total_chunks).or_insert_with(|| module.clone());
                    assert!(*first == module, "{}: {total_chunks} chunks stand for two modules", self.name);
                    count += 1;
                }
            }
            if let Some(module) = patient.take(self.name) {
                assert!(known.contains(&module), "{}: a mixture, kept from chunk {start} on", self.name);
            }
            taken.push(count);
        }
        taken[0]
    }
}
