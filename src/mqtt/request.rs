//! A device's request for a module.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{Detail, Error, shortened};

/// How long a device waits for its module after its request.
#[doc(alias = "bound")]
pub const TASK_TIMEOUT: Duration = Duration::from_secs(55);
/// Largest request that is parsed, bytes.
#[doc(alias = "bound")]
pub const MAX_REQUEST_SIZE: usize = 4096;

/// The payload on a request topic: JSON `{"app_name": "<reference>"}`. Further fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The module's OCI reference, unchanged: the chunks repeat it byte for byte.
    pub app_name: String,
}

impl Request {
    /// Parses the payload of a message.
    ///
    /// # Errors
    /// [`Error::BadRequest`] if it is too large, not such an object, or its `app_name` is empty.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadRequest { reason };
        if payload.len() > MAX_REQUEST_SIZE {
            // What is much larger was cut, so its size is not known.
            return Err(bad(format!("it has more than {MAX_REQUEST_SIZE} bytes")));
        }
        let mut object: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|error| bad(shortened(&error.to_string(), Detail::MAX_CHARS).into()))?;
        match object.remove("app_name") {
            Some(Value::String(app_name)) if !app_name.is_empty() => Ok(Self { app_name }),
            Some(Value::String(_)) => Err(bad("app_name is empty".into())),
            Some(_) => Err(bad("app_name is not a string".into())),
            None => Err(bad("app_name is missing".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_keeps_its_name_and_ignores_other_fields() {
        let request = Request::parse(br#"{"app_name": "a\u00e9\"b", "task": 7}"#).unwrap();
        assert_eq!(request.app_name, "aé\"b");
    }

    #[test]
    fn the_words_of_a_device_are_bounded_in_the_error() {
        let text = format!("\"{}\"", "\\b".repeat(2000));
        let message = Request::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(message.chars().count() < 300 && message.ends_with("column 4002"), "{message}");
    }

    #[test]
    fn anything_else_is_a_bad_request() {
        let long = format!(r#"{{"app_name": "{}"}}"#, "a".repeat(MAX_REQUEST_SIZE));
        let payloads: [&[u8]; 10] = [
            b"",
            b"add",
            b"{}",
            b"[]",
            br#"["add"]"#,
            br#"{"app_name": 3}"#,
            br#"{"app_name": null}"#,
            br#"{"app_name": ""}"#,
            b"{\"app_name\": \"\xff\"}",
            long.as_bytes(),
        ];
        for payload in payloads {
            let error = Request::parse(payload).unwrap_err();
            assert_eq!(error.code(), "bad-request", "{}", String::from_utf8_lossy(payload));
        }
    }
}
