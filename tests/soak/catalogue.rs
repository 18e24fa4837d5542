//! The modules that devices request, and what each tag has named.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use propeller_proxy::embedded::sample;
use tokio::time::sleep;

use crate::support::clients::push::Pusher;
use crate::support::digest;
use crate::support::random::Random;
use crate::support::servers::docker_registry::DockerRegistry;

/// Modules, each under a tag of its own.
pub const MODULES: usize = 50;
/// Bytes of module in a chunk, unless the number of chunks has to be another.
pub const CHUNK_SIZE: usize = 16_000;
/// Of so many modules the tag of one moves.
const MOVING: usize = 4;
/// Of so many modules one has several chunks, and of so many of those one is large.
const LONG: usize = 3;
const LARGE: usize = 5;
/// The interval at which some tag moves, milliseconds.
const MOVES: RangeInclusive<u64> = 1000..=5000;
const REPOSITORY: &str = "soak";

/// The bytes of the largest module.
const LARGEST: usize = 25 * CHUNK_SIZE;

/// The modules and the registry that has them.
pub struct Catalogue {
    pusher: Pusher,
    modules: Vec<Module>,
}

struct Module {
    size: usize,
    /// What its tag has named, the oldest first.
    versions: Mutex<Vec<Version>>,
}

struct Version {
    digest: String,
    /// When another one had taken its place.
    replaced: Option<Instant>,
}

impl Catalogue {
    /// Puts all modules into the registry.
    pub fn fill(registry: &DockerRegistry, random: &mut Random) -> Self {
        let sizes: Vec<_> = (0..MODULES).map(|number| size(number, random)).collect();
        registry.fill(
            REPOSITORY,
            sizes.iter().zip(0..).map(|(size, number)| (number.to_string(), bytes(*size, number, 0))),
        );
        let module = |(number, size): (usize, usize)| {
            let digest = digest(&bytes(size, number, 0));
            Module { size, versions: Mutex::new(vec![Version { digest, replaced: None }]) }
        };
        Self { pusher: registry.pusher().clone(), modules: sizes.into_iter().enumerate().map(module).collect() }
    }

    /// Returns how devices call the module of this number.
    pub fn app_name(number: usize) -> String {
        format!("{REPOSITORY}:{number}")
    }

    /// Returns the bytes of all modules together.
    pub fn size(&self) -> u64 {
        self.modules.iter().map(|module| module.size as u64).sum()
    }

    /// Moves tags for ever, and counts how often.
    pub async fn move_tags(self: Arc<Self>, mut random: Random, moves: Arc<AtomicU64>) {
        loop {
            sleep(random.millis(MOVES)).await;
            self.move_one(&mut random).await;
            moves.fetch_add(1, Relaxed);
        }
    }

    /// Moves one of the tags that move to a new module of the same size.
    async fn move_one(&self, random: &mut Random) {
        let number = MOVING * random.index(MODULES.div_ceil(MOVING));
        let module = &self.modules[number];
        let next = module.versions.lock().expect("the versions").len();
        let bytes = bytes(module.size, number, next);
        // The tag may name it from now on, and the one before until the registry has answered.
        module.versions.lock().expect("the versions").push(Version { digest: digest(&bytes), replaced: None });
        self.pusher.wasm(REPOSITORY, &number.to_string(), bytes.into()).await;
        module.versions.lock().expect("the versions")[next - 1].replaced = Some(Instant::now());
    }

    /// Checks that the tag of a module has named these bytes, and named them at some time since `since`.
    ///
    /// # Errors
    ///
    /// What they are instead.
    pub fn check(&self, number: usize, assembled: &[u8], since: Instant) -> Result<(), String> {
        let assembled = digest(assembled);
        let versions = self.modules[number].versions.lock().expect("the versions");
        let Some(version) = versions.iter().find(|version| version.digest == assembled) else {
            return Err("got bytes that its tag never named".to_owned());
        };
        match version.replaced.map(|replaced| since.saturating_duration_since(replaced)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(old) => Err(format!("got what its tag had ceased to name {old:?} too early")),
        }
    }
}

fn size(number: usize, random: &mut Random) -> usize {
    let in_chunks = |chunks: u64, random: &mut Random| {
        let all = chunks * CHUNK_SIZE as u64;
        usize::try_from(random.pick(all - 5_000..=all)).expect("a size")
    };
    match (number % LONG, number / LONG % LARGE) {
        (0, 0) => {
            let chunks = random.pick(18..=(LARGEST / CHUNK_SIZE) as u64);
            in_chunks(chunks, random)
        }
        (0, _) => {
            let chunks = random.pick(3..=9);
            in_chunks(chunks, random)
        }
        _ => usize::try_from(random.pick(100..=CHUNK_SIZE as u64)).expect("a size"),
    }
}

/// Returns the module of this number after so many moves.
fn bytes(size: usize, number: usize, moves: usize) -> Vec<u8> {
    sample::noise(size, (number as u64) << 32 | moves as u64)
}
