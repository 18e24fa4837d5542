//! The layer of an image manifest that is the module, or has it inside, in every shape in which Wasm is published (OCI
//! image specification, "Image Manifest").

use super::schema::{Entry, Image};
use crate::error::{Error, printable};
use crate::oci::artifact::{CONTENT_LAYER, MODULE_LAYER, Shape, WASM_CONFIG};
use crate::oci::blob::Descriptor;
use crate::oci::reference::Reference;
use crate::oci::refusal::{MAX_SHOWN, ambiguous, listed, unsupported};
use crate::oci::wasm::has_wasm_extension;

/// The configurations that say what an image runs.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// The layer that is the module, or has it inside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SelectedLayer {
    pub(crate) layer: Descriptor,
    pub(crate) content: Content,
    /// The name of the artifact's [`Shape`], or `wasm-layer` for a layer of another Wasm type.
    pub(crate) shape: &'static str,
    /// The file name that clients give the layer when they save it.
    pub(crate) title: Option<String>,
}

/// What a layer may contain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The module itself: its media type says so.
    Module,
    /// The module itself or an archive: its first bytes decide. In an archive the module is the file at this path, or
    /// else the only `*.wasm`.
    ModuleOrArchive(Option<String>),
    /// The same, but preferred are `plugin.wasm` in an image of the compat variant, and then the files that the image
    /// runs, as its configuration says.
    ImageLayer { config: Descriptor, is_compat: bool },
}

/// Selects the layer that the reference names, the only one of a Wasm type, an image's last one, or the only other
/// candidate, in this order.
///
/// # Errors
/// [`Error::Unsupported`] if there is none, [`Error::Ambiguous`] if there are several.
pub(crate) fn select_layer(reference: &Reference, image: &Image) -> Result<SelectedLayer, Error> {
    let search = Search { reference, image };
    if let Some((layer, content)) = search.by_selector()? {
        return search.selected(layer, content);
    }
    if let Some(layer) = search.by_media_type()? {
        return search.selected(layer, Content::Module);
    }
    for layer in &image.layers {
        search.refuse_wrapped(layer)?;
    }
    if let Some((layer, content)) = search.last_of_image()? {
        return search.selected(layer, content);
    }
    let (layer, content) = search.by_title()?;
    search.selected(layer, content)
}

struct Search<'a> {
    reference: &'a Reference,
    image: &'a Image,
}

type Candidate<'a> = (&'a Entry, Content);

impl<'a> Search<'a> {
    /// The layer whose title or digest is the selector of the reference.
    fn by_selector(&self) -> Result<Option<Candidate<'a>>, Error> {
        let Some(selector) = self.reference.selector.as_deref() else { return Ok(None) };
        let is_selected = |layer: &&Entry| [layer.title(), Some(&layer.digest)].contains(&Some(selector));
        match self.image.layers.iter().filter(is_selected).collect::<Vec<_>>().as_slice() {
            [] => Ok(None),
            [layer] => {
                self.refuse_wrapped(layer)?;
                let is_module = has_wasm_type(layer);
                Ok(Some((layer, if is_module { Content::Module } else { Content::ModuleOrArchive(None) })))
            }
            several => Err(self.ambiguous(several)),
        }
    }

    /// The only layer of a Wasm type.
    fn by_media_type(&self) -> Result<Option<&'a Entry>, Error> {
        let typed: Vec<_> = self.image.layers.iter().filter(|layer| has_wasm_type(layer)).collect();
        match (typed.as_slice(), &self.reference.selector) {
            ([], _) => Ok(None),
            ([layer], None) => Ok(Some(layer)),
            (_, Some(selector)) => Err(self.without_title(selector)),
            (several, None) => Err(self.ambiguous(several)),
        }
    }

    /// The last layer of an image.
    fn last_of_image(&self) -> Result<Option<Candidate<'a>>, Error> {
        let Image { config, layers, annotations } = self.image;
        let Some(last) = layers.last().filter(|_| is_image(self.image)) else { return Ok(None) };
        let content = match &self.reference.selector {
            Some(path) => Content::ModuleOrArchive(Some(path.clone())),
            None => Content::ImageLayer {
                config: config.descriptor(self.reference, "configuration")?,
                is_compat: annotations.variant.as_deref() == Some("compat"),
            },
        };
        Ok(Some((last, content)))
    }

    /// The only layer, or the only one with the title `*.wasm`.
    fn by_title(&self) -> Result<Candidate<'a>, Error> {
        let layers = self.image.layers.as_slice();
        let titled: Vec<_> = layers.iter().filter(|layer| layer.title().is_some_and(has_wasm_extension)).collect();
        match (layers, titled.as_slice(), &self.reference.selector) {
            ([], ..) => Err(unsupported(self.reference, "its manifest has no layers")),
            ([layer], _, selector) => Ok((layer, Content::ModuleOrArchive(selector.clone()))),
            (.., Some(selector)) => Err(self.without_title(selector)),
            (_, [layer], None) => Ok((layer, Content::ModuleOrArchive(None))),
            (_, [], None) => {
                let layers = self.layers();
                let reason = format!("none of its layers is called *.wasm or has a Wasm type: {layers}");
                Err(unsupported(self.reference, &reason))
            }
            (_, several, None) => Err(self.ambiguous(several)),
        }
    }

    fn selected(&self, layer: &Entry, content: Content) -> Result<SelectedLayer, Error> {
        let shape = shape(self.image, layer, &content);
        let title = layer.title().map(|title| printable(title, MAX_SHOWN));
        Ok(SelectedLayer { layer: layer.descriptor(self.reference, "layer")?, content, shape, title })
    }

    /// Refuses layers whose module is not accessible.
    fn refuse_wrapped(&self, layer: &Entry) -> Result<(), Error> {
        for (suffix, what) in [("encrypted", "encrypted"), ("+par", "a provider archive")] {
            if layer.media_type.ends_with(suffix) {
                return Err(unsupported(self.reference, &format!("its layer is {what}: {}", shown(layer))));
            }
        }
        Ok(())
    }

    fn ambiguous(&self, candidates: &[&Entry]) -> Error {
        ambiguous(self.reference, candidates.iter().map(|layer| shown(layer)))
    }

    fn without_title(&self, selector: &str) -> Error {
        unsupported(self.reference, &format!("no layer is called {selector:?}, of {}", self.layers()))
    }

    fn layers(&self) -> String {
        listed(self.image.layers.iter().map(shown)).join(", ")
    }
}

fn shape(image: &Image, layer: &Entry, content: &Content) -> &'static str {
    match (content, layer.media_type.as_str()) {
        (Content::Module, CONTENT_LAYER) => Shape::WasmToOci.name(),
        (Content::Module, MODULE_LAYER) => Shape::Envoy.name(),
        (Content::Module, "application/wasm") if image.config.media_type == WASM_CONFIG => Shape::WasmArtifact.name(),
        (Content::Module, _) => "wasm-layer",
        (Content::ImageLayer { .. }, _) => Shape::Image.name(),
        (Content::ModuleOrArchive(_), _) if is_image(image) => Shape::Image.name(),
        (Content::ModuleOrArchive(_), _) => Shape::Untyped.name(),
    }
}

fn is_image(image: &Image) -> bool {
    IMAGE_CONFIGS.contains(&image.config.media_type.as_str())
}

/// Whether the media type says that the layer is Wasm.
fn has_wasm_type(layer: &Entry) -> bool {
    let media_type = layer.media_type.as_str();
    media_type == "application/wasm" || media_type.ends_with("+wasm")
}

/// A layer as a message shows it.
fn shown(layer: &Entry) -> String {
    let title = layer.title().map(|title| format!("{title:?} ")).unwrap_or_default();
    format!("{title}{} {}", layer.media_type, layer.digest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::artifact::Artifact;
    use crate::oci::manifest::Manifest;

    const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    /// Each layer: media type, title, size.
    fn select(config: &str, selector: &str, layers: &[(&str, &str, i64)]) -> Result<SelectedLayer, Error> {
        let layer = |(number, (media_type, title, size)): (usize, &(&str, &str, i64))| {
            let annotations = json!({ "org.opencontainers.image.title": title });
            let annotations = if title.is_empty() { Value::Null } else { annotations };
            json!({"mediaType": media_type, "digest": digest(number), "size": size, "annotations": annotations})
        };
        let layers: Vec<_> = layers.iter().enumerate().map(layer).collect();
        let config = json!({"mediaType": config, "digest": digest(99), "size": 2});
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        let reference = Reference::parse(&format!("add{selector}"), &"localhost:5000".parse().unwrap()).unwrap();
        match Manifest::parse(&reference, manifest.as_bytes())? {
            Manifest::Image(image) => select_layer(&reference, &image),
            Manifest::Index(_) => unreachable!("it has layers"),
        }
    }

    #[test]
    fn one_layer_is_the_module() {
        let either = |path: &str| Content::ModuleOrArchive((!path.is_empty()).then(|| path.to_owned()));
        for (selector, layers, number, content) in [
            ("", &[(WASM, "", 7)][..], 0, Content::Module),
            ("", &[("application/wasm", "", 7)], 0, Content::Module),
            ("", &[("application/octet-stream", "", 7)], 0, either("")),
            ("", &[(TAR, "", 7)], 0, either("")),
            ("#in/it.wasm", &[(TAR, "", 7)], 0, either("in/it.wasm")),
            ("", &[("text/plain", "", 1), (WASM, "", 7), ("application/json", "", 2)], 1, Content::Module),
            ("", &[("text/plain", "readme", 1), (TAR, "add.wasm", 7)], 1, either("")),
            ("#b", &[(WASM, "a", 1), (WASM, "b", 7)], 1, Content::Module),
            ("#a", &[(TAR, "a", 1), (TAR, "b", 7)], 0, either("")),
        ] {
            let selected = select("application/vnd.oci.empty.v1+json", selector, layers).unwrap();
            assert_eq!(
                (selected.layer.digest.to_string(), selected.content),
                (digest(number), content),
                "{selector} {layers:?}"
            );
        }
        let selector = format!("#{}", digest(1));
        let selected = select("", &selector, &[(WASM, "", 1), (WASM, "", 2)]).unwrap();
        assert_eq!(selected.layer.size, 2);
    }

    #[test]
    fn an_image_has_it_in_its_last_layer() {
        let layers = [(TAR, "", 1), (TAR, "", 2)];
        let selected = select(IMAGE_CONFIGS[0], "", &layers).unwrap();
        assert!(
            selected.layer.size == 2 && matches!(selected.content, Content::ImageLayer { is_compat: false, .. }),
            "{selected:?}"
        );
        let selected = select(IMAGE_CONFIGS[1], "#app.wasm", &layers).unwrap();
        assert_eq!(selected.content, Content::ModuleOrArchive(Some("app.wasm".into())));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (selector, layers, code) in [
            ("", &[][..], "unsupported"),
            ("", &[(WASM, "", 1), (WASM, "", 2)], "ambiguous"),
            ("#c", &[(WASM, "a", 1), (WASM, "b", 2)], "unsupported"),
            ("#c", &[(WASM, "", 1)], "unsupported"),
            ("#c", &[(TAR, "a.wasm", 1), (TAR, "b", 2)], "unsupported"),
            ("#a", &[(WASM, "a", 1), (WASM, "a", 2)], "ambiguous"),
            ("", &[("text/plain", "", 1), ("application/json", "", 2)], "unsupported"),
            ("", &[(TAR, "a.wasm", 1), (TAR, "b.wasm", 2)], "ambiguous"),
            ("", &[("application/vnd.wasm.content.layer.v1+wasm+encrypted", "", 1)], "unsupported"),
            ("", &[("application/vnd.wasmcloud.provider.archive.layer.v1+par", "", 1)], "unsupported"),
            ("", &[(WASM, "", -1)], "unsupported"),
        ] {
            assert_eq!(select("application/json", selector, layers).unwrap_err().code(), code, "{layers:?}");
        }
    }

    #[test]
    fn what_publishers_write_is_bounded_and_printable_in_messages() {
        let long = format!("a\n\u{1b}[31m{}", "\u{200b}".repeat(100_000));
        for layers in [&[(WASM, &*long, 1), (WASM, &*long, 2)][..], &[(&*long, "", 1), (&*long, "", 2)]] {
            let message = select("", "", layers).unwrap_err().to_string();
            assert!(message.len() < 10_000 && !message.contains(char::is_control), "{} bytes", message.len());
        }
        let many = vec![(WASM, "", 1); 2000];
        assert_eq!(select("", "", &many).unwrap_err().code(), "unsupported");
        let both = br#"{"layers": [], "manifests": []}"#;
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        assert_eq!(Manifest::parse(&reference, both).unwrap_err().code(), "unsupported");
    }

    #[test]
    fn what_is_packed_in_a_shape_is_found_to_be_of_it() {
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        for shape in Shape::ALL {
            let artifact = Artifact::pack(&b"\0asm"[..], shape, "add.wasm");
            let Ok(Manifest::Image(image)) = Manifest::parse(&reference, &artifact.manifest.bytes) else {
                unreachable!("it has a layer")
            };
            let selected = select_layer(&reference, &image).unwrap();
            assert_eq!((selected.shape, selected.layer), (shape.name(), artifact.layer.descriptor()));
        }
    }
}
