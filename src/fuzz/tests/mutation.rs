//! Inputs: any bytes, and seeds with a few changes, of their bytes or of their values.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::strategy::Strategy;
use serde_json::{Value, json};

/// Longest input of any bytes.
const MAX_SIZE: usize = 2048;
/// Changes of one seed.
const MAX_CHANGES: usize = 6;
/// What parsers may take for something else.
const TOKENS: [&[u8]; 40] = [
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\"",
    b"\\",
    b"\\u202e",
    b"\\ud800",
    b"'",
    b",",
    b";",
    b"=",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"::",
    b"/",
    b"//",
    b"..",
    b"../",
    b"#",
    b"@",
    b"@sha256:",
    b"?",
    b"%2e",
    b"%",
    b"+",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"1e999",
    b"null",
    b"oci://",
    b"https://user:word@r.example:443/",
    b"\xff\xfe",
    "\u{202e}".as_bytes(),
    "ß".as_bytes(),
    b"xn--",
];
const LONG: usize = 300;
/// Values of JSON that are texts.
const TEXTS: [&str; 11] =
    ["", "a", "..", "sha256:", "\u{202e}", "a\nb", "/", "\0", "dGVzdDp0ZXN0", "https://r.example", "<token>"];

/// An input, which a failure shows as a literal.
pub struct Input(pub Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[derive(Debug, Clone)]
enum Change {
    Overwrite(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Repeats so many bytes so many times.
    Repeat(Index, usize, usize),
    /// Puts bytes from elsewhere in the seed there.
    Move(Index, Index, usize),
    Truncate(Index),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        let end = data.len() + 1;
        let range = |at: &Index, length: usize| {
            let at = at.index(end);
            at..(at + length).min(end - 1)
        };
        match self {
            Self::Overwrite(at, byte) => {
                if let Some(old) = data.get_mut(at.index(end)) {
                    *old = *byte;
                }
            }
            Self::Insert(at, bytes) => drop(data.splice(at.index(end)..at.index(end), bytes.iter().copied())),
            Self::Remove(at, length) => drop(data.drain(range(at, *length))),
            Self::Repeat(at, length, times) => {
                let range = range(at, *length);
                let bytes = data[range.clone()].repeat(*times);
                data.splice(range.end..range.end, bytes);
            }
            Self::Move(from, to, length) => {
                let bytes = data[range(from, *length)].to_vec();
                data.splice(to.index(end)..to.index(end), bytes);
            }
            Self::Truncate(at) => data.truncate(at.index(end)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Overwrite(at, byte)),
        4 => (at(), select(&TOKENS[..])).prop_map(|(at, token)| Change::Insert(at, token.to_vec())),
        1 => (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (at(), select(&b"a0/.-\""[..]), 1..LONG).prop_map(|(at, byte, times)| Change::Insert(at, vec![byte; times])),
        3 => (at(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (at(), 1..20_usize, 1..40_usize).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        2 => (at(), at(), 1..600_usize).prop_map(|(from, to, length)| Change::Move(from, to, length)),
        1 => at().prop_map(Change::Truncate),
    ]
}

pub fn any_bytes() -> impl Strategy<Value = Input> {
    vec(any::<u8>(), 0..MAX_SIZE).prop_map(Input)
}

/// Seeds with changes of their bytes.
pub fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    changed(select(seeds))
}

/// What `inputs` generates, with changes of its bytes.
pub fn changed(inputs: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Input> {
    (inputs, vec(change(), 0..=MAX_CHANGES)).prop_map(|(mut data, changes)| {
        for change in changes {
            change.apply(&mut data);
        }
        Input(data)
    })
}

/// Seeds that are lines of JSON, of which values are others, doubled or missing.
pub fn mutated_json(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    (select(seeds), vec((any::<Index>(), value()), 1..=MAX_CHANGES)).prop_map(|(seed, changes)| {
        let mut lines: Vec<Value> =
            seed.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        for (at, new) in changes {
            let places = lines.iter().flat_map(places).collect::<Vec<_>>();
            if places.is_empty() {
                break;
            }
            let place = at.index(places.len());
            let line = places[..=place].iter().filter(|pointer| pointer.is_empty()).count() - 1;
            if let Some(old) = lines[line].pointer_mut(&places[place]) {
                match (old, new) {
                    (Value::Array(items), None) => {
                        if let Some(item) = items.first().cloned() {
                            items.push(item);
                        }
                    }
                    (Value::Object(fields), None) => {
                        if let Some(key) = fields.keys().nth(at.index(fields.len().max(1))).cloned() {
                            fields.remove(&key);
                        }
                    }
                    (old, new) => *old = new.unwrap_or_default(),
                }
            }
        }
        let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
        Input(lines.join("\n").into_bytes())
    })
}

/// Another value, or none.
fn value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        2 => Just(None),
        3 => select(&TEXTS[..]).prop_map(|text| Some(text.into())),
        1 => ".{0,300}".prop_map(|text| Some(text.into())),
        1 => (any::<char>(), 100..3000_usize).prop_map(|(c, times)| Some(c.to_string().repeat(times).into())),
        3 => select(vec![json!(0), json!(1), json!(-1), json!(u64::MAX), json!(i64::MIN), json!(1.5), json!(u32::MAX)]).prop_map(Some),
        1 => any::<u64>().prop_map(|number| Some(number.into())),
        1 => any::<bool>().prop_map(|flag| Some(flag.into())),
        1 => select(vec![json!([]), json!({}), json!(null), json!([[]])]).prop_map(Some),
    ]
}

/// The pointers to all values, in order; that to the whole is empty.
fn places(value: &Value) -> Vec<String> {
    fn walk(value: &Value, pointer: String, places: &mut Vec<String>) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(item, format!("{pointer}/{index}"), places);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    walk(item, format!("{pointer}/{key}"), places);
                }
            }
            _ => {}
        }
        places.push(pointer);
    }
    let mut places = Vec::new();
    walk(value, String::new(), &mut places);
    places.rotate_right(1);
    places
}
