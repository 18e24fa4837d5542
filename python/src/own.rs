//! Values that belong to one process.

use std::mem::ManuallyDrop;
use std::process;

use crate::failure::Failure;

/// A value of the process that made it. A forked process can neither use nor drop it: threads that do not exist there may
/// have held its locks.
pub(crate) struct Own<T> {
    pid: u32,
    value: ManuallyDrop<T>,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { pid: process::id(), value: ManuallyDrop::new(value) }
    }

    pub(crate) fn get(&self) -> Result<&T, Failure> {
        if self.pid == process::id() { Ok(&self.value) } else { Err(Failure::Forked) }
    }
}

impl<T> Drop for Own<T> {
    #[allow(unsafe_code, reason = "it is dropped once, and not used after")]
    fn drop(&mut self) {
        if self.pid == process::id() {
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}
