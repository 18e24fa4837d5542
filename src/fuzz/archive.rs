//! Layers that are archives.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use tar::{EntryType, Header};
use tokio_util::sync::CancellationToken;

use super::text::check_error;
use crate::oci::archive::{ArchiveFormat, ArchivedLayer, Candidate, ModulePath};
use crate::oci::blob::{Blob, BlobHasher};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// The cap of a decompressed archive, bytes.
const LIMIT: u64 = 1 << 20;
const BLOCK: usize = 512;

/// What is extracted is the file that the `tar` crate extracts at the path, within the cap; whatever else there is, it is
/// refused.
pub fn archive(data: &[u8]) {
    check(data);
    // Behind a header with a wrong checksum nothing is read, and mutations make it wrong.
    check(&with_headers(data.to_owned(), |_| {}));
}

fn check(data: &[u8]) {
    let blob = stored(data).expect("a temporary file");
    let Some(format) = ArchiveFormat::of(&blob).expect("the blob can be read") else { return };
    let layer = ArchivedLayer { blob, format, limit: LIMIT, cancelled: CancellationToken::new() };
    let default = "localhost:5000".parse().expect("an address of a registry");
    let reference = Reference::parse("r.example/add:1.0", &default).expect("a reference");
    for path in [
        ModulePath::default(),
        ModulePath { required: Some("a.wasm".into()), preferred: Vec::new() },
        ModulePath { required: None, preferred: vec!["/plugin.wasm".into(), "dir/../a".into(), "dir/b".into()] },
    ] {
        let candidate = match layer.find(&reference, &path) {
            Ok(candidate) => candidate,
            Err(error) => {
                check_error(&error);
                continue;
            }
        };
        assert!(path.required.is_none_or(|required| required == candidate.path), "{:?}", candidate.path);
        let file = tempfile::tempfile().expect("a temporary file");
        let module = layer.extract(&reference, &candidate, file, None).expect("what is found can be extracted");
        check_module(&candidate, &module, data, format);
    }
}

fn check_module(candidate: &Candidate, module: &Blob, data: &[u8], format: ArchiveFormat) {
    let Candidate { path, size, .. } = candidate;
    let is_inside = path.split('/').all(|part| !["", ".", ".."].contains(&part));
    assert!(is_inside, "{path:?} leads out of the archive");
    assert!(module.size() <= LIMIT && module.size() == *size, "{path:?} has {} bytes, not {size}", module.size());
    let content = module.read().expect("the module can be read");
    assert_eq!(module.digest(), Digest::of(&content));
    let files = extracted(data, format).expect("the tar crate reads what is not refused");
    assert!(files.get(path) == Some(&content), "the tar crate extracts another {path:?} of {files:?}");
}

/// The files as the `tar` crate extracts them: the last one at each path.
fn extracted(data: &[u8], format: ArchiveFormat) -> io::Result<HashMap<String, Vec<u8>>> {
    let mut tar = Vec::new();
    let mut reader: Box<dyn Read> = match format {
        ArchiveFormat::Tar => Box::new(data),
        ArchiveFormat::TarGzip => Box::new(MultiGzDecoder::new(data)),
        ArchiveFormat::TarZstd => Box::new(zstd::Decoder::with_buffer(data)?),
    };
    // What is behind the end of the tar may be damaged.
    let _ = reader.as_mut().take(LIMIT).read_to_end(&mut tar);
    // The extended headers of Solaris, which the crate does not know.
    let tar = with_headers(tar, |header| {
        if header.entry_type().as_byte() == b'X' {
            header.set_entry_type(EntryType::XHeader);
        }
    });
    let mut files = HashMap::new();
    for entry in tar::Archive::new(&*tar).entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_contiguous() {
            continue;
        }
        // Of the zeros behind a long name the crate removes one.
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('\0').to_owned();
        let parts: Vec<_> = path.split('/').filter(|part| !["", "."].contains(part)).collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(parts.join("/"), content);
    }
    Ok(files)
}

/// A blob of these bytes.
fn stored(data: &[u8]) -> io::Result<Blob> {
    let (mut file, mut hasher) = (tempfile::tempfile()?, BlobHasher::default());
    file.write_all(data)?;
    hasher.write_all(data)?;
    let (digest, size, checksums) = hasher.finish();
    Ok(Blob::apart(file, digest, size, checksums, None))
}

/// The same as far as it is a tar, with each header changed, and the right checksum in it.
fn with_headers(mut tar: Vec<u8>, change: fn(&mut Header)) -> Vec<u8> {
    let mut at = 0_usize;
    while let Some(block) = at.checked_add(BLOCK).and_then(|end| tar.get_mut(at..end)) {
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        change(&mut header);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().ok().and_then(|size| usize::try_from(size).ok());
        let Some(next) = size.and_then(|size| size.checked_next_multiple_of(BLOCK)?.checked_add(at + BLOCK)) else {
            break;
        };
        at = next;
    }
    tar
}
