//! Locks that no panic elsewhere makes unusable.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what no holder can leave half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
