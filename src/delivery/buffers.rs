//! Buffers that are used again: a message of hundreds of kilobytes is not allocated, and its pages not touched anew,
//! for every chunk.

use std::mem;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::util::sync::lock;

/// A pool of buffers. It holds no more than were ever in use at once, which the window of messages in flight bounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer on loan, with the contents of its last use.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    pub(super) fn borrow(&self) -> Buffer {
        Buffer { bytes: lock(&self.0).pop().unwrap_or_default(), home: self.clone() }
    }
}

impl Buffer {
    /// Makes it a message; it comes back when the last clone of that is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        lock(&self.home.0).push(mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_clone_of_its_message() {
        let buffers = Buffers::default();
        let mut buffer = buffers.borrow();
        buffer.bytes.extend_from_slice(b"chunk");
        let place = buffer.bytes.as_ptr();
        let message = buffer.freeze();
        let clone = message.clone();
        drop(message);
        assert!(lock(&buffers.0).is_empty());
        assert_eq!(clone, "chunk");
        drop(clone);
        assert_eq!(buffers.borrow().bytes.as_ptr(), place);
    }
}
