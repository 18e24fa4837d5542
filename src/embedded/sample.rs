//! Sample modules.

use crate::oci::wasm::MODULE_PREAMBLE;

/// A core module that exports `add`, the sum of two `i32`.
pub const ADD: [u8; 41] = [
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // preamble
    0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f, // types: (i32, i32) -> i32
    0x03, 0x02, 0x01, 0x00, // functions: one, of type 0
    0x07, 0x07, 0x01, 0x03, b'a', b'd', b'd', 0x00, 0x00, // exports: "add" is function 0
    0x0a, 0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6a, 0x0b, // code: local 0, local 1, i32.add
];

/// Smallest module that [`noise`] makes, bytes.
pub const MIN_NOISE: usize = 15;

/// A valid core module of exactly `size` bytes, at least [`MIN_NOISE`] and under 4 GiB: one custom section full of
/// noise that depends on `seed`.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "seven bits")]
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    const LENGTH_SIZE: usize = 5;
    let size = size.max(MIN_NOISE);
    let mut module = Vec::with_capacity(size + 8);
    module.extend_from_slice(&MODULE_PREAMBLE);
    // Section id 0, its length as LEB128 padded to the longest form, and an empty name.
    module.push(0);
    let length = size - module.len() - LENGTH_SIZE;
    module.extend((0..LENGTH_SIZE).map(|group| {
        let more = if group + 1 < LENGTH_SIZE { 0x80 } else { 0 };
        (length >> (7 * group) & 0x7f) as u8 | more
    }));
    module.push(0);
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    while module.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        module.extend_from_slice(&state.to_le_bytes());
    }
    module.truncate(size);
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_one_custom_section() {
        for size in [MIN_NOISE, 16, 1000, 300_000] {
            let module = noise(size, 7);
            assert_eq!(module.len(), size);
            let (preamble, section) = module.split_at(8);
            assert_eq!(preamble, MODULE_PREAMBLE);
            let length: usize =
                section[1..6].iter().rev().fold(0, |length, group| length << 7 | usize::from(group & 0x7f));
            assert_eq!((section[0], section[6], length), (0, 0, section.len() - 6));
        }
        assert_ne!(noise(100, 1), noise(100, 2));
    }
}
