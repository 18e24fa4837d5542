//! Texts that are shown: in messages, in the log, on the status topic.

use crate::error::{Error, is_obeyed};

/// The message of an error goes to the status topic and the log: it is bounded and printable.
pub(super) fn check_error(error: &Error) {
    /// Characters: a reason, the reference, and the sentence around them.
    const MAX_MESSAGE: usize = 3000;
    check_text(&error.to_string(), MAX_MESSAGE);
}

/// A text from elsewhere that is shown has at most so many characters, and none that a terminal would obey.
pub(super) fn check_text(text: &str, max_chars: usize) {
    let chars = text.chars().count();
    assert!(chars <= max_chars, "{chars} characters are more than {max_chars}: {text:?}");
    assert!(!text.contains(is_obeyed), "{text:?} has characters that a terminal obeys");
}
