//! An OCI image layout directory: what the embedded registry serves; pushing is writing into it
//! (OCI image specification, "Image Layout").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oci_client::annotations::ORG_OPENCONTAINERS_IMAGE_REF_NAME;
use oci_client::manifest::{ImageIndexEntry, OciImageIndex};

use crate::oci::artifact::{Artifact, IMAGE_INDEX, Packed, Shape};
use crate::oci::digest::Digest;
use crate::oci::name::{is_repository, is_tag};

/// An image layout directory.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Creates an empty layout in `dir` if it is not a layout yet. Blocks on the disk.
    ///
    /// # Errors
    /// The system's error.
    pub fn create(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let layout = Self { dir: dir.into() };
        fs::create_dir_all(layout.dir.join("blobs/sha256"))?;
        let _lock = layout.lock()?;
        let marker = layout.dir.join("oci-layout");
        if !marker.exists() {
            layout.write_index(Vec::new())?;
            layout.write(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(layout)
    }

    /// Opens the layout in `dir`.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let layout = Self { dir: dir.into() };
        fs::metadata(layout.dir.join("oci-layout"))?;
        Ok(layout)
    }

    /// Writes `wasm`, unchecked, as `repository:tag`, and returns what it wrote; the layer's title is the last part of the
    /// repository and `.wasm`. Blocks on the disk.
    ///
    /// As in a registry, a manifest that loses its tag to another one stays available by its digest.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the name is invalid, else the system's error.
    pub fn push(&self, repository: &str, tag: &str, wasm: &[u8], shape: Shape) -> io::Result<Artifact> {
        let name = format!("{repository}:{tag}");
        if !is_repository(repository) || !is_tag(tag) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not repository:tag")));
        }
        let artifact = Artifact::pack_for(repository, Bytes::copy_from_slice(wasm), shape);
        for Packed { bytes, digest, .. } in [&artifact.config, &artifact.layer, &artifact.manifest] {
            self.write(&self.blob_path(*digest), bytes)?;
        }
        self.tag(name, &artifact.manifest)?;
        Ok(artifact)
    }

    /// The entries of `index.json`. Blocks on the disk.
    pub(super) fn entries(&self) -> io::Result<Vec<ImageIndexEntry>> {
        let index: OciImageIndex = serde_json::from_slice(&fs::read(self.index_path())?)?;
        Ok(index.manifests)
    }

    /// The path of the blob with this digest, whether it exists or not.
    pub(super) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.to_string().replace(':', "/"))
    }

    fn tag(&self, name: String, manifest: &Packed) -> io::Result<()> {
        let digest = manifest.digest.to_string();
        let _lock = self.lock()?;
        let mut entries = self.entries()?;
        for entry in &mut entries {
            if ref_name(entry) == Some(&name) {
                entry.annotations = None;
            }
        }
        entries.retain(|entry| entry.digest != digest || ref_name(entry).is_some());
        entries.push(ImageIndexEntry {
            media_type: manifest.media_type.to_owned(),
            digest,
            size: i64::try_from(manifest.bytes.len()).map_err(io::Error::other)?,
            platform: None,
            annotations: Some(BTreeMap::from([(ORG_OPENCONTAINERS_IMAGE_REF_NAME.to_owned(), name)])),
            artifact_type: None,
        });
        self.write_index(entries)
    }

    /// Locks the index against other writers, in this process or another, while it is read and rewritten.
    fn lock(&self) -> io::Result<File> {
        let lock = File::open(&self.dir)?;
        lock.lock()?;
        Ok(lock)
    }

    fn write_index(&self, manifests: Vec<ImageIndexEntry>) -> io::Result<()> {
        let media_type = Some(IMAGE_INDEX.to_owned());
        let index = OciImageIndex { schema_version: 2, media_type, manifests, artifact_type: None, annotations: None };
        self.write(&self.index_path(), &serde_json::to_vec(&index)?)
    }

    /// Writes a file by rename, so that no reader sees a part of it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("index.json")
    }
}

/// The name of an entry, `repository:tag`.
pub(super) fn ref_name(entry: &ImageIndexEntry) -> Option<&String> {
    entry.annotations.as_ref()?.get(ORG_OPENCONTAINERS_IMAGE_REF_NAME)
}

#[cfg(test)]
mod tests {
    use oci_client::manifest::OciImageManifest;

    use super::*;

    fn names(layout: &Layout) -> Vec<Option<String>> {
        layout.entries().unwrap().iter().map(|entry| ref_name(entry).cloned()).collect()
    }

    #[test]
    fn a_push_writes_module_configuration_and_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        for shape in Shape::ALL {
            let pushed = layout.push("acme/add", "1.0", b"\0asm\x01\0\0\0", shape).unwrap();
            let read = |digest| fs::read(layout.blob_path(digest)).unwrap();
            let artifact = Artifact::pack(&b"\0asm\x01\0\0\0"[..], shape, "add.wasm");
            assert_eq!(pushed.manifest.digest, artifact.manifest.digest);
            assert_eq!(read(pushed.layer.digest), artifact.layer.bytes);
            let manifest: OciImageManifest = serde_json::from_slice(&read(pushed.manifest.digest)).unwrap();
            assert_eq!(manifest.layers[0].digest, pushed.layer.digest.to_string());
            assert_eq!(read(manifest.config.digest.parse().unwrap()), artifact.config.bytes);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "temporary files are left");
    }

    #[test]
    fn a_tag_that_moves_leaves_its_manifest_behind() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let tagged = || Some("add:1.0".to_owned());
        let first = layout.push("add", "1.0", b"one", Shape::WasmToOci).unwrap();
        layout.push("add", "1.0", b"two", Shape::WasmToOci).unwrap();
        assert_eq!(names(&layout), [None, tagged()]);
        assert_eq!(layout.push("add", "1.0", b"one", Shape::WasmToOci).unwrap(), first);
        assert_eq!(names(&Layout::create(dir.path()).unwrap()), [None, tagged()]);
        assert_eq!(layout.entries().unwrap()[1].digest, first.manifest.digest.to_string());
    }

    #[test]
    fn pushes_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for tag in 0..16 {
                let dir = dir.path();
                scope.spawn(move || {
                    let layout = Layout::create(dir).unwrap();
                    layout.push("add", &tag.to_string(), b"one", Shape::WasmArtifact).unwrap();
                });
            }
        });
        assert_eq!(names(&Layout::open(dir.path()).unwrap()).len(), 16);
    }

    #[test]
    fn names_are_checked_and_a_folder_is_not_a_layout() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Layout::open(dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        let layout = Layout::create(dir.path()).unwrap();
        for (repository, tag) in [("", "1"), ("Add", "1"), ("../add", "1"), ("add", ""), ("add", "1/2"), ("a:b", "1")] {
            let error = layout.push(repository, tag, b"", Shape::WasmToOci).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{repository}:{tag}");
        }
    }
}
