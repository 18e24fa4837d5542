use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Store, StoreOptions};
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;

#[tokio::test]
async fn the_least_recently_used_goes_first_and_nothing_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 64 << 10);
    let scope = store.scope(b"");
    let blob = |number: u8| Bytes::from(vec![number; 16 << 10]);
    let has = async |number| scope.blob(Digest::of(&blob(number))).await.unwrap().is_some();
    scope.put(blob(0)).await.unwrap();
    let open = scope.blob(Digest::of(&blob(0))).await.unwrap().unwrap();
    for number in 1..3 {
        scope.put(blob(number)).await.unwrap();
    }
    assert!(has(1).await, "used again");
    scope.put(blob(3)).await.unwrap();
    scope.put(blob(4)).await.unwrap();
    assert!(!has(2).await && has(0).await && has(1).await && has(4).await);
    drop(open);
    let (digest, media_type) = (Digest::of(b"never comes"), String::new());
    scope.spool(Descriptor { digest, size: 64 << 10, media_type }).discard().await;
    assert!(has(4).await, "what is only announced evicts nothing");
    let files = fs::read_dir(scope.folder.join("blobs")).unwrap();
    let taken: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
    assert!(taken <= 64 << 10, "{taken}");
}

fn open(folder: &Path, limit: u64) -> Arc<Store> {
    Store::open(&StoreOptions { folder: folder.into(), is_named: true, limit }).unwrap()
}

#[tokio::test]
async fn a_store_that_is_removed_while_in_use_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 1 << 20);
    let scope = store.scope(b"");
    let (bytes, other) = (Bytes::from_static(b"hello"), Bytes::from_static(b"world"));
    let salt = fs::read(store.root.join("salt")).unwrap();
    scope.put(bytes.clone()).await.unwrap();
    scope.cache_tag("add:1", Digest::of(&bytes)).await.unwrap();

    let expected = Descriptor { digest: Digest::of(&other), size: 5, media_type: String::new() };
    let mut spool = scope.spool(expected.clone());
    spool.write(other.clone()).await.unwrap();
    fs::remove_dir_all(&store.root).unwrap();
    assert_eq!(spool.commit().await.unwrap().read().unwrap(), other, "its file is open");

    assert!(scope.blob(Digest::of(&bytes)).await.unwrap().is_none());
    assert!(scope.cached_tag("add:1").await.unwrap().is_none());
    store.try_writing().unwrap();
    assert_eq!(fs::read(store.root.join("salt")).unwrap(), salt);
    fs::remove_dir_all(&store.root).unwrap();
    scope.scratch().unwrap();
    fs::remove_dir_all(&store.root).unwrap();
    scope.cache_tag("add:1", Digest::of(&bytes)).await.unwrap();
    scope.put(bytes.clone()).await.unwrap();
    let again = open(folder.path(), 1 << 20).scope(b"");
    assert!(again.blob(Digest::of(&bytes)).await.unwrap().is_some(), "another process finds the same scope");
    assert_eq!(again.cached_tag("add:1").await.unwrap().unwrap().digest, Digest::of(&bytes));
}

/// What is outside of the store, old, with names of the store.
struct Outside(tempfile::TempDir);

impl Outside {
    const BYTES: &[u8] = b"not the store's";

    fn new() -> Self {
        let outside = Self(tempfile::tempdir().unwrap());
        for name in Self::names() {
            fs::write(outside.0.path().join(&name), Self::BYTES).unwrap();
            let file = File::open(outside.0.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        outside
    }

    fn names() -> [String; 2] {
        [Digest::of(Self::BYTES).hex(), Digest::of(b"others").hex()]
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), Self::names().len(), "another file");
        for name in Self::names() {
            let path = self.0.path().join(name);
            let age = path.metadata().unwrap().modified().unwrap().elapsed().unwrap();
            assert!(age >= Duration::from_secs(3600), "touched");
            assert_eq!(fs::read(path).unwrap(), Self::BYTES);
        }
    }
}

#[tokio::test]
async fn a_blob_or_tag_that_is_a_link_is_never_followed() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::new());
    let store = open(folder.path(), 1 << 20);
    let scope = store.scope(b"");
    let bytes = Bytes::from_static(Outside::BYTES);
    scope.put(bytes.clone()).await.unwrap();
    scope.cache_tag("add:1", Digest::of(&bytes)).await.unwrap();
    for part in ["blobs", "tags"] {
        let file = fs::read_dir(scope.folder.join(part)).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&file).unwrap();
        symlink(outside.0.path().join(Digest::of(&bytes).hex()), file).unwrap();
    }
    assert!(scope.blob(Digest::of(&bytes)).await.unwrap().is_none());
    assert!(scope.cached_tag("add:1").await.unwrap().is_none());
    scope.put(bytes.clone()).await.unwrap();
    assert!(scope.blob(Digest::of(&bytes)).await.unwrap().is_some(), "it replaced the link");
    outside.assert_untouched();

    let fifo = scope.folder.join("blobs").join(Digest::of(b"fifo").hex());
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(scope.blob(Digest::of(b"fifo")).await.unwrap().is_none(), "and nothing waits for a writer");
}

#[tokio::test]
async fn a_folder_that_is_a_link_is_neither_read_nor_cleared_nor_written() {
    let outside = Outside::new();
    let bytes = Bytes::from_static(Outside::BYTES);
    for link in ["blobs", "tags", ""] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), 8192);
        let scope = store.scope(b"");
        let place = scope.folder.join(link);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(outside.0.path(), place.to_str().unwrap().trim_end_matches('/')).unwrap();
        assert!(scope.blob(Digest::of(&bytes)).await.unwrap().is_none());
        let other = store.scope(b"other");
        for number in 0..4 {
            other.put(Bytes::from(vec![number; 4096])).await.unwrap();
        }
        let stored = [scope.put(bytes.clone()).await.err(), scope.cache_tag("add:1", Digest::of(&bytes)).await.err()];
        assert!(stored.iter().flatten().all(|error| error.code() == "disk"), "{stored:?}");
        assert!(stored.iter().flatten().count() > 0, "{link}");
        outside.assert_untouched();
    }
    for name in ["v1", "v1/ingest", "v1/salt"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        let target =
            if name == "v1/salt" { outside.0.path().join(&Outside::names()[0]) } else { outside.0.path().into() };
        symlink(target, folder.path().join(name)).unwrap();
        let options = StoreOptions { folder: folder.path().into(), is_named: true, limit: 0 };
        assert_eq!(Store::open(&options).unwrap_err().code(), "disk", "{name}");
        assert_eq!(super::check(folder.path()).unwrap_err().code(), "disk", "{name}");
        outside.assert_untouched();
    }
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("disk"), folder.path().join("store"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    open(&link, 8192).scope(b"").put(bytes).await.unwrap();
    assert!(target.join("v1/salt").exists(), "the folder that the operator names may be one");
}
