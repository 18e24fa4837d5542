//! The entries of a tar archive, within bounds that the library does not keep.

use std::io::{self, Read};
use std::ops::ControlFlow;

use tar::{Archive, EntryType, PaxExtensions};

/// Entries of an archive that are read.
#[doc(alias = "bound")]
const MAX_ENTRIES: usize = 1 << 16;
/// Largest header of an archive that holds a long name, bytes.
#[doc(alias = "bound")]
const MAX_NAME_HEADER: u64 = 64 << 10;

/// An entry: its path as the archive has it, and its content.
pub(super) struct Entry<'a> {
    /// Counted from 0.
    pub(super) position: usize,
    pub(super) path: &'a str,
    pub(super) kind: EntryType,
    pub(super) content: &'a mut dyn Read,
}

/// Passes each entry to `visit` until that breaks. Long names are read within a limit, which the library's own reading
/// of them has not.
pub(super) fn visit_entries(
    tar: impl Read,
    mut visit: impl FnMut(Entry<'_>) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut long_name = None;
    let mut archive = Archive::new(tar);
    for (position, entry) in archive.entries()?.raw(true).enumerate() {
        if position == MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            let name = read_name_header(&mut entry)?;
            long_name = Some(name.split(|byte| *byte == 0).next().unwrap_or_default().to_owned());
        } else if kind.is_pax_local_extensions() {
            let header = read_name_header(&mut entry)?;
            let extensions = PaxExtensions::new(&header).flatten();
            let path = extensions.filter(|extension| extension.key_bytes() == b"path").last();
            long_name = path.map(|path| path.value_bytes().to_owned()).or(long_name);
        } else if !kind.is_gnu_longlink() && !kind.is_pax_global_extensions() {
            let path = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            let path = String::from_utf8_lossy(&path);
            if visit(Entry { position, path: &path, kind, content: &mut entry })?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The content of a header that holds a name.
fn read_name_header(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    entry.take(MAX_NAME_HEADER + 1).read_to_end(&mut header)?;
    if header.len() as u64 > MAX_NAME_HEADER {
        return Err(io::Error::other(format!("a name in it has more than {MAX_NAME_HEADER} bytes")));
    }
    Ok(header)
}
