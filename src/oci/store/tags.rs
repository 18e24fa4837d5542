//! The digests of tags, as the registry confirmed them last.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::quota::MIN_FILE_SPACE;
use super::scope::Scope;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::util::file::make_folder;

/// The digest of a tag.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CachedTag {
    /// The digest of its manifest.
    pub digest: Digest,
    /// When the registry confirmed it.
    pub confirmed: SystemTime,
}

impl CachedTag {
    /// Whether the registry confirmed it less than `ttl` ago.
    #[must_use]
    pub fn is_fresh(&self, ttl: Duration) -> bool {
        self.confirmed.elapsed().is_ok_and(|age| age < ttl)
    }
}

impl Scope {
    /// The digest that `tag`, a full reference, had when the registry confirmed it last. An unreadable file is none.
    ///
    /// # Errors
    /// [`Error::Disk`] if the file cannot be opened.
    pub async fn cached_tag(&self, tag: &str) -> Result<Option<CachedTag>, Error> {
        let path = self.tag_path(tag);
        let read = self.blocking(move |_| match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => {
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                read.map(Some)
            }
        });
        Ok(read.await?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Persists the digest that `tag` has now.
    ///
    /// # Errors
    /// [`Error::Disk`] if the file cannot be written.
    pub async fn cache_tag(&self, tag: &str, digest: Digest) -> Result<(), Error> {
        let path = self.tag_path(tag);
        let cached = CachedTag { digest, confirmed: SystemTime::now() };
        self.blocking(move |scope| {
            let store = &scope.store;
            if !store.quota.allows(MIN_FILE_SPACE) {
                return Ok(());
            }
            store.quota.make_room(MIN_FILE_SPACE, &store.hashed)?;
            let mut file = store.new_file()?;
            serde_json::to_writer(&mut file, &cached)?;
            make_folder(&scope.folder.join("tags"))?;
            file.persist(path)?;
            Ok(())
        })
        .await
    }

    fn tag_path(&self, tag: &str) -> PathBuf {
        self.folder.join("tags").join(Digest::of(tag.as_bytes()).hex())
    }
}
