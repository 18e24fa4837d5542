//! The modules that are unpacked from archives: each once for all that need it, as long as one of them does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::oci::archive::ModulePath;
use crate::oci::blob::WeakBlob;
use crate::oci::digest::Digest;
use crate::util::sync::lock;

/// Disk space of unpacked modules at once, bytes: unlike blobs in the store, they occupy it until they are sent. A larger
/// module is the only one.
#[doc(alias = "bound")]
const MAX_UNPACKED: u64 = 2 << 30;
/// What an unpacked module counts for at least, bytes; the disk space is counted in multiples of it.
#[doc(alias = "bound")]
const MIN_UNPACKED: u64 = 4 << 20;

/// Unpacked modules by the digest of their layer and path, and the disk space that is left for others.
#[derive(Debug)]
pub(super) struct Unpacked {
    modules: Mutex<HashMap<Digest, Module>>,
    pub(super) space: Arc<Semaphore>,
}

/// Locked while it is unpacked.
type Module = Arc<tokio::sync::Mutex<WeakBlob>>;

impl Default for Unpacked {
    fn default() -> Self {
        Self { modules: Mutex::default(), space: Arc::new(Semaphore::new(units(MAX_UNPACKED) as usize)) }
    }
}

impl Unpacked {
    /// Waits until no other task unpacks this module; then it is there, or the caller has to unpack it.
    pub(super) async fn enter(&self, layer: Digest, path: &ModulePath) -> OwnedMutexGuard<WeakBlob> {
        let module = {
            let mut modules = lock(&self.modules);
            // One that is locked is being unpacked.
            modules.retain(|_, module| {
                module.try_lock().is_ok_and(|module| module.upgrade().is_some()) || Arc::strong_count(module) > 1
            });
            Arc::clone(modules.entry(Digest::of(format!("{layer} {path:?}").as_bytes())).or_default())
        };
        module.lock_owned().await
    }

    /// Waits for the disk space of a module.
    pub(super) async fn space(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.space).acquire_many_owned(units(size)).await.ok()
    }
}

fn units(size: u64) -> u32 {
    u32::try_from(size.clamp(1, MAX_UNPACKED).div_ceil(MIN_UNPACKED)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_disk_space_is_bounded_and_a_larger_module_is_alone() {
        let unpacked = Unpacked::default();
        let small = unpacked.space(1).await;
        assert!(!is_ready(unpacked.space(u64::MAX)), "not beside another one");
        let half = unpacked.space(MAX_UNPACKED / 2).await;
        assert!(!is_ready(unpacked.space(MAX_UNPACKED / 2)));
        assert!(is_ready(unpacked.space(MAX_UNPACKED / 2 - MIN_UNPACKED)));
        drop((small, half));
        assert!(is_ready(unpacked.space(u64::MAX)));
    }

    #[tokio::test]
    async fn one_task_at_a_time_unpacks_a_module() {
        let (unpacked, layer) = (Unpacked::default(), Digest::of(b"layer"));
        let [one, other] =
            ["one", "other"].map(|path| ModulePath { required: Some(path.into()), preferred: Vec::new() });
        let entered = unpacked.enter(layer, &one).await;
        assert!(!is_ready(unpacked.enter(layer, &one)));
        assert!(is_ready(unpacked.enter(layer, &other)));
        assert!(is_ready(unpacked.enter(Digest::of(b"another"), &one)));
        drop(entered);
        assert!(is_ready(unpacked.enter(layer, &one)));
        assert_eq!(lock(&unpacked.modules).len(), 1, "what is not in use is forgotten");
    }
}
