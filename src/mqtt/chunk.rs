//! The chunk message of wire protocol 1, encoded straight into the outgoing buffer.

use base64_simd::STANDARD;
use bytes::Bytes;

/// Encodes the chunks of one transfer.
///
/// The message is `{"app_name":…,"chunk_idx":…,"total_chunks":…,"data":…}` with `data` in standard padded base64
/// (RFC 4648, section 4). Everything but the index and the data is the same in every chunk and encoded once.
#[derive(Debug)]
pub struct Encoder {
    before_index: String,
    after_index: String,
}

const END: &str = "\"}";

impl Encoder {
    /// An encoder for the chunks of `app_name`.
    #[must_use]
    pub fn new(app_name: &str, total_chunks: u64) -> Self {
        Self {
            before_index: format!(r#"{{"app_name":{},"chunk_idx":"#, serde_json::Value::from(app_name)),
            after_index: format!(r#","total_chunks":{total_chunks},"data":""#),
        }
    }

    /// The longest message with `length` bytes of data, bytes.
    #[must_use]
    pub fn message_size(&self, length: u32) -> usize {
        /// Digits of the highest index.
        const INDEX: usize = 20;
        let frame = self.before_index.len() + INDEX + self.after_index.len() + END.len();
        frame + STANDARD.encoded_length(length as usize)
    }

    /// The size of the message of chunk `index` with `length` bytes of data, bytes.
    #[must_use]
    pub fn size(&self, index: u64, length: u32) -> usize {
        let digits = index.checked_ilog10().map_or(1, |log| log as usize + 1);
        let frame = self.before_index.len() + digits + self.after_index.len() + END.len();
        frame + STANDARD.encoded_length(length as usize)
    }

    /// Encodes the message of chunk `index` into `message`, whose memory is reused.
    pub fn encode(&self, index: u64, data: &[u8], message: &mut Vec<u8>) {
        let index = index.to_string();
        let size = [self.before_index.len(), index.len(), self.after_index.len(), END.len()].iter().sum::<usize>();
        message.clear();
        message.reserve_exact(size + STANDARD.encoded_length(data.len()));
        message.extend_from_slice(self.before_index.as_bytes());
        message.extend_from_slice(index.as_bytes());
        message.extend_from_slice(self.after_index.as_bytes());
        STANDARD.encode_append(data, message);
        message.extend_from_slice(END.as_bytes());
    }

    /// The message of chunk `index`, in a buffer of its own.
    #[must_use]
    pub fn message(&self, index: u64, data: &[u8]) -> Bytes {
        let mut message = Vec::new();
        self.encode(index, data, &mut message);
        message.into()
    }
}

/// Longest `app_name` of a chunk message, bytes: no reference is longer.
#[doc(alias = "bound")]
pub const MAX_APP_NAME_SIZE: usize = 512;

/// The longest message of a chunk of `chunk_size` bytes, for any `app_name`.
#[must_use]
pub fn max_message_size(chunk_size: u32) -> usize {
    /// Field names, punctuation and two numbers of at most 20 digits.
    const FRAME: usize = 100;
    /// A control character takes six bytes in JSON.
    const ESCAPED: usize = 6;
    FRAME + MAX_APP_NAME_SIZE * ESCAPED + STANDARD.encoded_length(chunk_size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_exactly_the_four_fields() {
        let message = Encoder::new("localhost:5000/add:1.0", 3).message(2, b"\0asm");
        let expected = r#"{"app_name":"localhost:5000/add:1.0","chunk_idx":2,"total_chunks":3,"data":"AGFzbQ=="}"#;
        assert_eq!(message, expected);
    }

    #[test]
    fn the_size_of_a_message_is_known_before() {
        let encoder = Encoder::new("localhost:5000/add:1.0", 12);
        for (index, length) in [(0, 0), (9, 1), (10, 512)] {
            assert_eq!(encoder.size(index, length), encoder.message(index, &vec![7; length as usize]).len());
        }
    }

    #[test]
    fn any_name_comes_back_as_it_was() {
        let name = "a\"\\\n\u{1}é\u{10ffff}";
        let message = Encoder::new(name, 1).message(0, b"");
        let value: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(value["app_name"], name);
        assert_eq!(value["data"], "");
    }

    #[test]
    fn the_longest_message_is_foreseen() {
        let name = "\u{1}".repeat(MAX_APP_NAME_SIZE);
        let message = Encoder::new(&name, u64::MAX).message(u64::MAX, &[7; 1000]);
        assert!(message.len() <= max_message_size(1000));
    }
}
