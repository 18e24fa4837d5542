//! Archives of entries that tools may read in different ways, plain and compressed, and with changes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::Strategy;
use tar::{EntryType, Header};

use super::mutation::{Input, changed};

const KINDS: &[u8] = b"00000\x001257LKxXgS";
const NAMES: [&str; 12] = [
    "a.wasm",
    "./a.wasm",
    "dir//a.wasm",
    "dir/../a.wasm",
    "/a.wasm",
    "plugin.wasm",
    "a",
    "dir/b",
    ".wh.a.wasm",
    "._b.wasm",
    "dir/",
    "b.WASM",
];
const CONTENTS: [&[u8]; 13] = [
    b"",
    b"\0asm\x01\0\0\0",
    b"c.wasm\0",
    b"c.wasm\0d.wasm",
    b"15 path=b.wasm\n",
    b"13 size=1024\n",
    b"8 size=\n",
    b"22 GNU.sparse.major=1\n",
    b"18 comment=\n13 si\n",
    b"16 linkpath=abc\n",
    b"15 path=b.wasm\n15 path=c.wasm\n",
    &[b'x'; 513],
    &[0; 1024],
];

/// One entry.
#[derive(Debug, Clone)]
struct Entry {
    kind: u8,
    name: &'static str,
    content: &'static [u8],
    /// Added to the size in the header.
    excess: u64,
    is_gnu: bool,
}

fn entry() -> impl Strategy<Value = Entry> {
    let excess = prop_oneof![12 => Just(0), 1 => select(&[1, 512, 1 << 33][..])];
    let entry = (select(KINDS), select(&NAMES[..]), select(&CONTENTS[..]), excess, any::<bool>());
    entry.prop_map(|(kind, name, content, excess, is_gnu)| Entry { kind, name, content, excess, is_gnu })
}

#[derive(Debug, Clone, Copy)]
enum Packing {
    Plain,
    Gzip,
    /// Two members one after the other.
    GzipTwice,
    Zstd,
}

/// Archives of a few entries: changed before they are compressed, or after that.
pub fn archives() -> impl Strategy<Value = Input> {
    use Packing::{Gzip, GzipTwice, Plain, Zstd};
    let packing = || select(&[Plain, Plain, Plain, Gzip, GzipTwice, Zstd][..]);
    let tar = || vec(entry(), 1..6).prop_map(|entries| tar(&entries));
    prop_oneof![
        4 => (tar(), packing()).prop_map(|(tar, packing)| Input(packed(&tar, packing))),
        3 => (changed(tar()), packing()).prop_map(|(Input(tar), packing)| Input(packed(&tar, packing))),
        1 => changed((tar(), packing()).prop_map(|(tar, packing)| packed(&tar, packing))),
    ]
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for Entry { kind, name, content, excess, is_gnu } in entries {
        let mut header = if *is_gnu { Header::new_gnu() } else { Header::new_ustar() };
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::new(*kind));
        header.set_size(content.len() as u64 + excess);
        header.set_cksum();
        archive.append(&header, *content).expect("append to a vector");
    }
    archive.into_inner().expect("end a vector")
}

fn packed(tar: &[u8], packing: Packing) -> Vec<u8> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compress in memory")
    };
    match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Gzip => gzip(tar),
        Packing::GzipTwice => {
            let (one, other) = tar.split_at(tar.len() / 2);
            [gzip(one), gzip(other)].concat()
        }
        Packing::Zstd => zstd::encode_all(tar, 1).expect("compress in memory"),
    }
}

/// An archive of each kind that holds one module.
pub fn seeds() -> Vec<Vec<u8>> {
    let entry = |kind, name, content| Entry { kind, name, content, excess: 0, is_gnu: kind == b'L' };
    let module = entry(b'0', "a.wasm", CONTENTS[1]);
    let plain = tar(std::slice::from_ref(&module));
    let extended = |kind, content| tar(&[entry(kind, "header", content), module.clone()]);
    vec![
        extended(b'x', CONTENTS[4]),
        extended(b'g', CONTENTS[8]),
        extended(b'L', CONTENTS[2]),
        tar(&[entry(b'5', "dir/", b""), entry(b'2', "b.wasm", b""), module]),
        packed(&plain, Packing::Gzip),
        packed(&plain, Packing::GzipTwice),
        packed(&plain, Packing::Zstd),
        plain,
    ]
}
