//! The request of a device.

use serde::Deserialize;

use super::text::check_error;
use crate::mqtt::chunk::Encoder;
use crate::mqtt::request::{MAX_REQUEST_SIZE, Request};

/// A request has a name within its bound, and the chunks repeat that byte for byte: devices key on it.
pub fn request(data: &[u8]) {
    const TOTAL_CHUNKS: u64 = 7;
    const INDEX: u64 = 3;
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Chunk {
        app_name: String,
        #[serde(rename = "chunk_idx")]
        index: u64,
        total_chunks: u64,
        data: String,
    }
    let app_name = match Request::parse(data) {
        Ok(Request { app_name }) => app_name,
        Err(error) => return check_error(&error),
    };
    assert!(data.len() <= MAX_REQUEST_SIZE && (1..=data.len()).contains(&app_name.len()));
    let encoder = Encoder::new(&app_name, TOTAL_CHUNKS);
    let message = encoder.message(INDEX, b"\0asm");
    assert_eq!(message.len(), encoder.size(INDEX, 4));
    let chunk: Chunk = serde_json::from_slice(&message).expect("a chunk message is JSON of four fields");
    assert_eq!((chunk.index, chunk.total_chunks, &*chunk.data), (INDEX, TOTAL_CHUNKS, "AGFzbQ=="));
    assert_eq!(chunk.app_name, app_name);
}
