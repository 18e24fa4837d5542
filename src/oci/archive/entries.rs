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
        match kind.as_byte() {
            b'L' => {
                let name = read_extension(&mut entry)?;
                extension.set_path(name.split(|byte| *byte == 0).next().unwrap_or_default())?;
            }
            // The target of a link, which is not followed.
            b'K' => {}
            // By POSIX, and by Solaris.
            b'x' | b'X' => extension.extend(&read_extension(&mut entry)?)?,
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
                if visit(Entry { position, path: &path, kind, size, content: &mut entry })?.is_break() {
                    return Ok(());
                }
            }
        }
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
mod tests {
    use super::*;

    const CONTENT: [u8; 1024] = [7; 1024];

    /// The header of `a.wasm`, or of what precedes it.
    fn header(kind: u8, size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_path("a.wasm").unwrap();
        header.set_entry_type(EntryType::new(kind));
        header.set_size(size as u64);
        header.set_cksum();
        header
    }

    /// A tar of these headers and contents.
    fn tar(entries: &[(Header, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (header, content) in entries {
            archive.append(header, *content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// The entries, or why they are refused.
    fn read(tar: &[u8]) -> Result<Vec<(String, usize)>, String> {
        let mut entries = Vec::new();
        let visited = visit(tar, |Entry { path, size, content, .. }| {
            let read = io::copy(content, &mut io::sink())?;
            assert_eq!(read, size, "{path}");
            entries.push((path.to_owned(), usize::try_from(size).unwrap()));
            Ok(ControlFlow::Continue(()))
        });
        visited.map(|()| entries).map_err(|error| error.to_string())
    }

    fn file() -> (Header, &'static [u8]) {
        (header(b'0', CONTENT.len()), &CONTENT)
    }

    /// A header that extends the next one, before a file of 1,024 bytes.
    fn extended(kind: u8, records: &str) -> Result<Vec<(String, usize)>, String> {
        read(&tar(&[(header(kind, records.len()), records.as_bytes()), file()]))
    }

    #[test]
    fn what_every_tool_reads_alike_is_read() {
        let plain = Ok(vec![("a.wasm".to_owned(), 1024)]);
        assert_eq!(read(&tar(&[file()])), plain);
        assert_eq!(extended(b'x', "13 size=1024\n"), plain, "the same size again");
        assert_eq!(extended(b'x', "18 comment=\n13 si\n"), plain, "a record may have line breaks in it");
        assert_eq!(extended(b'g', "15 comment=abc\n"), plain, "as git writes it");
        assert_eq!(extended(b'x', "15 path=b.wasm\n"), Ok(vec![("b.wasm".to_owned(), 1024)]));
        assert_eq!(extended(b'X', "15 path=b.wasm\n"), Ok(vec![("b.wasm".to_owned(), 1024)]));
        let mut base_256 = header(b'0', 0);
        base_256.as_old_mut().size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        base_256.set_cksum();
        assert_eq!(read(&tar(&[(base_256, &CONTENT)])), plain);
    }

    #[test]
    fn a_size_by_which_tools_find_other_contents_is_refused() {
        for (kind, records) in [
            (b'x', "12 size=512\n"),
            (b'X', "12 size=512\n"),
            (b'g', "12 size=512\n"),
            (b'g', "13 size=1024\n"),
            (b'g', "15 path=b.wasm\n"),
            (b'x', "8 size=\n"),
            (b'x', "13 size=+512\n"),
            (b'x', "13 size=1024\n12 size=512\n"),
            (b'x', "13 comment=\n\n12 size=512\n"),
            (b'x', "22 GNU.sparse.major=1\n"),
            (b'x', "26 GNU.sparse.size=123456\n"),
            (b'x', "15 path=b.wasm\n15 path=c.wasm\n"),
            (b'x', "15 path=a\0wasm\n"),
            (b'x', "8 path=\n"),
            (b'x', "99 size=1024\n"),
            (b'x', "size=1024\n"),
            (b'x', "0 \n"),
        ] {
            extended(kind, records).expect_err(records);
        }
        let extension = |kind, text: &'static str| (header(kind, text.len()), text.as_bytes());
        let (size, path, name) =
            (extension(b'x', "13 size=1024\n"), extension(b'x', "15 path=b.wasm\n"), extension(b'L', "c.wasm\0"));
        read(&tar(&[size.clone(), path.clone(), file()])).expect_err("two extended headers");
        read(&tar(&[path, name.clone(), file()])).expect_err("two names");
        read(&tar(&[name.clone(), name, file()])).expect_err("two names by GNU");
    }

    #[test]
    fn a_header_that_hides_entries_is_refused() {
        // Tools skip the content of a link, or read it as the next entries.
        for kind in b'1'..=b'6' {
            read(&tar(&[(header(kind, CONTENT.len()), &CONTENT), file()])).expect_err("a content");
            assert_eq!(read(&tar(&[(header(kind, 0), b""), file()])).unwrap().len(), 2);
        }
        read(&tar(&[(header(b'S', CONTENT.len()), &CONTENT)])).expect_err("a sparse file");
        for field in [[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0], [0xff; 12], *b"+0000002000\0"] {
            let mut header = header(b'0', 0);
            header.as_old_mut().size = field;
            header.set_cksum();
            read(&tar(&[(header, &CONTENT)])).expect_err("its size");
        }
    }
}
