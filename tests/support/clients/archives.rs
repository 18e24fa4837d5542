//! Layers: files in a tar, and what compressors make of it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// An entry of a tar. Names go in as they are, also absolute ones and such with `..`.
#[derive(Clone, Copy)]
pub enum Entry<'a> {
    Folder(&'a str),
    /// A file; a name that is too long for its header precedes it, as GNU tar has it.
    File(&'a str, &'a [u8]),
    /// A file whose name is in an extended header (POSIX.1-2001 pax).
    Pax(&'a str, &'a [u8]),
    /// A file that has another size in an extended header.
    Resized(&'a str, &'a [u8], &'a str),
    /// A name and what it points to.
    Symlink(&'a str, &'a str),
    /// A name and the entry that it repeats.
    Hardlink(&'a str, &'a str),
}

/// Returns a tar of these files.
pub fn files(files: &[(&str, &[u8])]) -> Bytes {
    tar(&files.iter().map(|(name, bytes)| Entry::File(name, bytes)).collect::<Vec<_>>())
}

/// Returns a tar of these entries.
pub fn tar(entries: &[Entry]) -> Bytes {
    let mut archive = Builder::new(Vec::new());
    for entry in entries {
        match *entry {
            Entry::Folder(name) => append(&mut archive, EntryType::Directory, name, "", b""),
            Entry::File(name, bytes) => append(&mut archive, EntryType::Regular, name, "", bytes),
            Entry::Pax(name, bytes) => {
                archive.append_pax_extensions([("path", name.as_bytes())]).expect("an extended header");
                append(&mut archive, EntryType::Regular, "elsewhere", "", bytes);
            }
            Entry::Resized(name, bytes, size) => {
                archive.append_pax_extensions([("size", size.as_bytes())]).expect("an extended header");
                append(&mut archive, EntryType::Regular, name, "", bytes);
            }
            Entry::Symlink(name, target) => append(&mut archive, EntryType::Symlink, name, target, b""),
            Entry::Hardlink(name, target) => append(&mut archive, EntryType::Link, name, target, b""),
        }
    }
    archive.into_inner().expect("the end of the archive").into()
}

fn append(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    if !fill(&mut header.as_old_mut().name, name) {
        append(archive, EntryType::GNULongName, "././@LongLink", "", format!("{name}\0").as_bytes());
    }
    assert!(fill(&mut header.as_old_mut().linkname, target), "{target} is too long");
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    archive.append(&header, bytes).expect("an entry");
}

/// Writes as much of `text` into a field as there is room for, and returns whether that was all.
fn fill(field: &mut [u8], text: &str) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    length == text.len()
}

/// Compresses with gzip, into one member.
pub fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("compress with gzip").into()
}

/// Compresses with zstd, into one frame.
pub fn zstd(bytes: &[u8]) -> Bytes {
    zstd::encode_all(bytes, 1).expect("compress with zstd").into()
}

/// Compresses with zstd so that unpacking takes a window of 2 to the power of `window_log` bytes.
pub fn zstd_with_window(window_log: u32, bytes: &[u8]) -> Bytes {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.window_log(window_log).and_then(|()| encoder.write_all(bytes)).expect("compress with zstd");
    encoder.finish().expect("the end of the frame").into()
}

/// Compresses the two halves of `bytes`, one after the other.
pub fn in_halves(compress: fn(&[u8]) -> Bytes, bytes: &[u8]) -> Bytes {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    [compress(one), compress(other)].concat().into()
}
