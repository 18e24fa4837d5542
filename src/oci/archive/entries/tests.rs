//! Archives that tools read alike, and those that they do not.

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
    let [padded, hidden] = ["c.wasm\0\0\0", "c.wasm\0d.wasm\0"].map(|text| extension(b'L', text));
    assert_eq!(read(&tar(&[padded, file()])), Ok(vec![("c.wasm".to_owned(), 1024)]));
    read(&tar(&[hidden, file()])).expect_err("a name behind a zero");
    let target = extension(b'K', "c.wasm\0");
    assert_eq!(read(&tar(&[target.clone(), file()])), Ok(vec![("a.wasm".to_owned(), 1024)]));
    read(&tar(&[target.clone(), target, file()])).expect_err("two targets");
}

#[test]
fn what_only_some_tools_take_for_a_file_is_refused() {
    let named = |kind, content: &'static [u8]| (header(kind, content.len()), content);
    for kind in [b'L', b'K', b'x', b'X'] {
        read(&tar(&[file(), named(kind, b"15 path=b.wasm\n")])).expect_err("no entry behind it");
    }
    read(&tar(&[named(b'x', b"15 path=b.wasm\n"), named(b'g', b"15 comment=abc\n"), file()])).expect_err("between");
    let (mut unknown, records) = named(b'x', b"15 path=b.wasm\n");
    unknown.as_ustar_mut().unwrap().magic[5] = 1;
    unknown.set_cksum();
    read(&tar(&[(unknown, records), file()])).expect_err("no format");
    let mut folder = header(b'0', CONTENT.len());
    folder.as_old_mut().name[..8].copy_from_slice(b"a.wasm/\0");
    folder.set_cksum();
    read(&tar(&[(folder, &CONTENT)])).expect_err("the name of a folder");
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
