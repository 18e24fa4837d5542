//! How single values are written, and how they are parsed.
//!
//! A parser returns `None`, or says in words that follow "is" why a value is not accepted.

mod display;
pub(super) mod pem;
pub(super) mod units;

use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use secrecy::SecretString;
/// Least severe level that is logged.
pub use tracing::Level as LogLevel;

pub(super) use self::display::{printable_value, shown};
use self::units::{positive_size, size};
use crate::delivery::rules::versions::TagMoves;
use crate::mqtt::topic::{ANY, is_topic_level};

/// Largest part of a module in one chunk, bytes: in base64 it fits the 10 MiB packet of a stock proplet.
#[doc(alias = "bound")]
const MAX_CHUNK_SIZE: u32 = 7_800_000;
/// Largest `PROXY_MAX_PASSES`, passes a minute.
#[doc(alias = "bound")]
const MAX_PASSES: u32 = 6000;

/// Reads what has a form of its own, or any text.
#[must_use]
pub fn from_str<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Reads a list with commas between.
pub(super) fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|item| item.trim().parse().ok()).collect()
}

/// Reads an id that is one level of a topic.
pub(super) fn topic_level(text: &str) -> Option<String> {
    is_topic_level(text).then(|| text.to_owned())
}

/// Reads such an id, or the filter that matches each of them.
pub(super) fn level_or_any(text: &str) -> Option<String> {
    topic_level(text).or_else(|| any_level(text))
}

/// Reads a list of such ids, or the filter that matches each of them.
pub(super) fn levels_or_any(text: &str) -> Option<Vec<String>> {
    let listed = || text.split(',').map(|item| topic_level(item.trim())).collect();
    any_level(text).map(|any| vec![any]).or_else(listed)
}

/// Reads the filter that matches every level of a topic.
fn any_level(text: &str) -> Option<String> {
    (text.trim() == ANY).then(|| ANY.to_owned())
}

/// Reads a level by its name; the library would take a number too.
pub(super) fn log_level(text: &str) -> Option<LogLevel> {
    text.parse().ok().filter(|_| text.chars().all(char::is_alphabetic))
}

/// Reads a quality of service.
pub(super) fn qos(text: &str) -> Option<u8> {
    text.parse().ok().filter(|qos| *qos <= 2)
}

/// Reads a user name for HTTP, in which Basic authentication (RFC 7617) has no colon.
pub(super) fn username(text: &str) -> Option<String> {
    (!text.contains(|c: char| c == ':' || c.is_control())).then(|| text.to_owned())
}

/// Reads a secret without control characters.
pub(super) fn printable_secret(text: &str) -> Option<SecretString> {
    (!text.contains(char::is_control)).then(|| text.into())
}

/// Reads a secret that is printable ASCII without spaces.
pub(super) fn token(text: &str) -> Option<SecretString> {
    text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.into())
}

/// Reads a number from 1 to `MOST`.
pub(super) fn count<const MOST: usize>(text: &str) -> Option<usize> {
    text.parse().ok().filter(|count| (1..=MOST).contains(count))
}

/// Reads a number of passes a minute.
pub(super) fn passes(text: &str) -> Option<NonZeroU32> {
    text.parse().ok().filter(|passes: &NonZeroU32| passes.get() <= MAX_PASSES)
}

/// Reads the size of a chunk.
pub(super) fn chunk_size(text: &str) -> Option<NonZeroU32> {
    let size = u32::try_from(size(text)?).ok().filter(|size| *size <= MAX_CHUNK_SIZE);
    size.and_then(NonZeroU32::new)
}

/// Reads a number of bytes a second.
pub(super) fn rate(text: &str) -> Option<NonZeroU64> {
    size(text).and_then(NonZeroU64::new)
}

/// Reads a size over zero of something in memory.
pub(super) fn memory_size(text: &str) -> Option<usize> {
    positive_size(text).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

/// Reads what is sent when a tag moves.
pub(super) fn tag_moves(text: &str) -> Option<TagMoves> {
    match text.to_ascii_lowercase().as_str() {
        "fresh" => Some(TagMoves::Fresh),
        "pinned" => Some(TagMoves::Pinned),
        _ => None,
    }
}
