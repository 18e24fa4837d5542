//! The entries of a tar. Tools disagree about headers that few archives have; what one of them would read as other files
//! than this one is refused, so that what is delivered is what `tar` extracts.

use std::io::{self, Read};
use std::ops::ControlFlow;

use tar::{Archive, EntryType, Header};

/// Entries of an archive that are read.
#[doc(alias = "bound")]
const MAX_ENTRIES: usize = 1 << 16;
/// Largest header of an archive that extends the one of the next entry, for instance by a long name, bytes.
#[doc(alias = "bound")]
const MAX_EXTENSION: u64 = 64 << 10;
/// The first byte of a size in base 256; the other bits of the field are the number.
const BASE_256: u8 = 0x80;
/// Before the eight bytes of a number of 64 bits, the field of a size has so many.
const BASE_256_PADDING: usize = 4;

/// An entry: its path as the archive has it, and its content.
pub(super) struct Entry<'a> {
    /// Counted from 0; headers that extend others count, too.
    pub(super) position: usize,
    pub(super) path: &'a str,
    pub(super) kind: EntryType,
    /// Bytes of the content.
    pub(super) size: u64,
    pub(super) content: &'a mut dyn Read,
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    /// Whether an entry has to follow.
    is_pending: bool,
    /// Whether there was the long target of a link.
    has_target: bool,
    /// Whether there was an extended header: two of them are read by each tool in another way.
    is_extended: bool,
}

/// Passes each entry to `visit` until that breaks. Headers are read within a limit, which the library's own reading of
/// them has not.
pub(super) fn visit(
    reader: impl Read,
    mut visit: impl FnMut(Entry<'_>) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut extension = Extension::default();
    for (position, entry) in Archive::new(reader).entries()?.raw(true).enumerate() {
        if position == MAX_ENTRIES {
            return Err(refused(&format!("more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry?;
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size()?);
        check_header(entry.header(), size)?;
        extension.is_pending |= is_extension(kind);
        match kind.as_byte() {
            b'L' => {
                let name = read_extension(&mut entry)?;
                // Zeros fill the content up. A name behind one is read by some tools.
                let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                extension.set_path(&name[..end])?;
            }
            // The target of a link, which is not followed.
            b'K' if std::mem::replace(&mut extension.has_target, true) => {
                return Err(refused("an entry with two targets"));
            }
            b'K' => {}
            // By POSIX, and by Solaris.
            b'x' | b'X' => extension.extend(&read_extension(&mut entry)?)?,
            b'g' if extension.is_pending => return Err(refused("a header for all entries between the headers of one")),
            b'g' => {
                let mut global = Extension::default();
                global.extend(&read_extension(&mut entry)?)?;
                if global.path.is_some() || global.size.is_some() {
                    return Err(refused("a path or a size for all entries"));
                }
            }
            _ => {
                let Extension { path, size: extended, .. } = std::mem::take(&mut extension);
                if extended.is_some_and(|extended| extended != size) {
                    return Err(refused("an entry without one size"));
                }
                let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
                let path = String::from_utf8_lossy(&path);
                if kind.is_file() && path.ends_with('/') && size > 0 {
                    return Err(refused("a file with the name of a folder"));
                }
                if visit(Entry { position, path: &path, kind, size, content: &mut entry })?.is_break() {
                    return Ok(());
                }
            }
        }
    }
    if extension.is_pending {
        return Err(refused("no entry behind the header of one"));
    }
    Ok(())
}

impl Extension {
    fn set_path(&mut self, path: &[u8]) -> io::Result<()> {
        if self.path.replace(path.to_owned()).is_some() || path.is_empty() || path.contains(&0) {
            return Err(refused("an entry without one name"));
        }
        Ok(())
    }

    /// Takes what an extended header says.
    fn extend(&mut self, header: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.is_extended, true) {
            return Err(refused("an entry with two extended headers"));
        }
        for (key, value) in records(header).ok_or_else(|| refused("an extended header that cannot be read"))? {
            match key {
                b"path" => self.set_path(value)?,
                b"size" => {
                    let size = number(value).filter(|size| self.size.is_none_or(|earlier| earlier == *size));
                    self.size = Some(size.ok_or_else(|| refused("an entry without one size"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(refused("a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether an entry extends the header of the next one: by a long name or target, or by records.
fn is_extension(kind: EntryType) -> bool {
    matches!(kind.as_byte(), b'L' | b'K' | b'x' | b'X')
}

/// Refuses an entry whose content other tools would not find where its size says.
fn check_header(header: &Header, size: u64) -> io::Result<()> {
    let field = &header.as_old().size;
    let is_plain = match field[0] {
        // The library reads the last eight bytes only.
        first if first & BASE_256 != 0 => first == BASE_256 && field[1..BASE_256_PADDING].iter().all(|byte| *byte == 0),
        first => first != b'+',
    };
    let kind = header.entry_type();
    let has_no_content = matches!(kind.as_byte(), b'1'..=b'6');
    match () {
        () if !is_plain => Err(refused("a size that is no number of 64 bits")),
        () if has_no_content && size > 0 => Err(refused("a link, folder or device with a content")),
        () if is_extension(kind) && header.as_ustar().is_none() && header.as_gnu().is_none() => {
            Err(refused("a header of a format that has none like it"))
        }
        () if kind.is_gnu_sparse() => Err(refused("a sparse file")),
        () => Ok(()),
    }
}

/// The content of a header that extends another one.
fn read_extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    entry.take(MAX_EXTENSION + 1).read_to_end(&mut header)?;
    if header.len() as u64 > MAX_EXTENSION {
        return Err(refused(&format!("a header of more than {MAX_EXTENSION} bytes")));
    }
    Ok(header)
}

/// The keys and values of an extended header (POSIX.1-2017, pax, "pax Extended Header"), each `length key=value` and a
/// line break; values may have line breaks, too. `None` if one is malformed.
fn records(mut header: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !header.is_empty() {
        let space = header.iter().position(|byte| *byte == b' ')?;
        let (record, rest) = header.split_at_checked(usize::try_from(number(&header[..space])?).ok()?)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        header = rest;
    }
    Some(records)
}

/// A number in decimal digits.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(digits).ok())??;
    digits.parse().ok()
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("it has {what}"))
}

#[cfg(test)]
mod tests;
