use std::fs;
use std::os::unix::fs::MetadataExt;

use bytes::Bytes;

use super::{Store, StoreOptions};
use crate::oci::blob::Descriptor;
use crate::oci::digest::Digest;

#[tokio::test]
async fn the_least_recently_used_goes_first_and_nothing_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions { folder: folder.path().into(), is_named: true, limit: 64 << 10 }).unwrap();
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
