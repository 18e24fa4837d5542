//! Finding the module in a manifest (OCI image specification, "Image Index" and "Image Manifest"), in every shape in which
//! Wasm is published.

mod about;
mod types;

use std::path::Path;

use serde::Deserialize;

pub(crate) use self::about::About;
use self::about::kind;
use self::types::Bounded;
pub(crate) use self::types::{Entry, Image, Manifest};
use crate::error::{Error, printable};
use crate::oci::blob::Descriptor;
use crate::oci::reference::Reference;

/// The manifest types that are asked for.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// The configurations that say what an image runs.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// Candidates that a message lists.
const MAX_LISTED: usize = 8;
/// Longest text about one of them in a message, characters.
const MAX_SHOWN: usize = 200;
/// Longest reason in a message, characters.
const MAX_REASON: usize = 2000;
/// Words of an image's entry point, and of its command, that are read.
const MAX_WORDS: usize = 64;

/// The layer that is the module, or has it inside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) layer: Descriptor,
    /// What the layer may be.
    pub(crate) form: Form,
    /// What kind of artifact it is of.
    pub(crate) kind: &'static str,
    /// The file name that clients give the layer when they save it.
    pub(crate) title: Option<String>,
}

/// What a layer may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The module itself: its type says so.
    Module,
    /// The module itself or an archive, as its first bytes tell. In an archive the module is the file at this path, or
    /// the only one called `*.wasm`.
    Either(Option<String>),
    /// The same, but `plugin.wasm` is looked for first in an image of the compat variant, and then what the image runs, as
    /// its configuration says.
    Image { config: Descriptor, compat: bool },
}

/// Reads a manifest.
pub(crate) fn parse(reference: &Reference, manifest: &[u8]) -> Result<Manifest, Error> {
    Manifest::read(manifest).map_err(|error| unsupported(reference, &format!("its manifest cannot be read ({error})")))
}

/// The manifest for WebAssembly in an index: the only one of the best kind. Attestations do not count.
pub(crate) fn for_wasm(reference: &Reference, index: &[Entry]) -> Result<Descriptor, Error> {
    let entries: Vec<_> = index.iter().filter(|entry| !is_attestation(entry)).collect();
    let best = entries.iter().map(|entry| fitness(entry)).max().unwrap_or_default();
    let listed = || {
        let shown = |entry: &&Entry| {
            let platform = entry.platform.as_ref();
            let platform = platform.map_or("any platform".into(), |it| format!("{}/{}", it.os, it.architecture));
            format!("{platform} {}", entry.digest)
        };
        list(entries.iter().map(shown))
    };
    let mut fitting: Vec<_> = entries.iter().filter(|entry| fitness(entry) == best).collect();
    // One manifest may be listed for several platforms.
    fitting.sort_by_key(|entry| &entry.digest);
    fitting.dedup_by_key(|entry| &entry.digest);
    match fitting.as_slice() {
        [] => Err(unsupported(reference, "its index is empty")),
        [entry] if best > 0 || entry.platform.is_none() || entries.len() == 1 => {
            descriptor(reference, "manifest", entry)
        }
        _ if best == 0 && entries.iter().all(|entry| entry.platform.is_some()) => Err(unsupported(
            reference,
            &format!("its index has no manifest for WebAssembly, but {}", listed().join(", ")),
        )),
        _ => Err(Error::Ambiguous { reference: reference.to_string(), candidates: listed() }),
    }
}

fn is_attestation(entry: &Entry) -> bool {
    let nowhere = |platform: &types::Platform| platform.os == "unknown" && platform.architecture == "unknown";
    entry.annotations.reference_type.as_deref() == Some("attestation-manifest")
        || entry.platform.as_ref().is_some_and(nowhere)
}

/// How much a platform is one of WebAssembly.
fn fitness(entry: &Entry) -> usize {
    entry.platform.as_ref().map_or(0, |platform| {
        usize::from(platform.os.starts_with("wasi")) + usize::from(platform.architecture.starts_with("wasm"))
    })
}

/// The layer that is the module: the one that the reference selects, the only one of a Wasm type, an image's last one, or
/// the only one that may be it.
pub(crate) fn choose(reference: &Reference, image: &Image) -> Result<Choice, Error> {
    let layers = &image.layers;
    let chosen = |layer: &Entry, form| {
        let kind = kind(image, layer, &form);
        let title = title(layer).map(|title| printable(title, MAX_SHOWN));
        Ok(Choice { layer: descriptor(reference, "layer", layer)?, form, kind, title })
    };
    let several = |candidates: &[&Entry]| {
        let candidates = list(candidates.iter().map(|layer| shown(layer)));
        Err(Error::Ambiguous { reference: reference.to_string(), candidates })
    };
    let listed = || list(layers.iter().map(shown)).join(", ");
    let nothing_called =
        |selector| Err(unsupported(reference, &format!("no layer is called {selector:?}, of {}", listed())));
    let form_of = |layer: &Entry, inside| if has_wasm_type(layer) { Form::Module } else { Form::Either(inside) };

    let selector = reference.selector.as_deref();
    let selected =
        layers.iter().filter(|layer| selector.is_some() && [title(layer), Some(&layer.digest)].contains(&selector));
    match selected.collect::<Vec<_>>().as_slice() {
        [] => {}
        [layer] => return refuse_wrapped(reference, layer).and_then(|()| chosen(layer, form_of(layer, None))),
        candidates => return several(candidates),
    }

    let wasm: Vec<_> = layers.iter().filter(|layer| has_wasm_type(layer)).collect();
    match (wasm.as_slice(), selector) {
        ([layer], None) => return chosen(layer, Form::Module),
        ([_, ..], Some(selector)) => return nothing_called(selector),
        ([_, _, ..], None) => return several(&wasm),
        ([], _) => {}
    }

    for layer in layers {
        refuse_wrapped(reference, layer)?;
    }
    let inside = selector.map(str::to_owned);
    if let Some(last) = layers.last()
        && IMAGE_CONFIGS.contains(&image.config.media_type.as_str())
    {
        let form = match inside {
            Some(path) => Form::Either(Some(path)),
            None => Form::Image {
                config: descriptor(reference, "configuration", &image.config)?,
                compat: image.annotations.variant.as_deref() == Some("compat"),
            },
        };
        return chosen(last, form);
    }
    let called_wasm = |layer: &&Entry| title(layer).is_some_and(is_named_wasm);
    let named: Vec<_> = layers.iter().filter(called_wasm).collect();
    match (layers.as_slice(), named.as_slice(), selector) {
        ([], ..) => Err(unsupported(reference, "its manifest has no layers")),
        ([layer], ..) => chosen(layer, Form::Either(inside)),
        (.., Some(selector)) => nothing_called(selector),
        (_, [layer], None) => chosen(layer, Form::Either(None)),
        (_, [], None) => Err(unsupported(
            reference,
            &format!("none of its layers is called *.wasm or has a Wasm type: {}", listed()),
        )),
        (_, candidates, None) => several(candidates),
    }
}

/// What the command line of an image is, entry point first (OCI image specification, "Image Configuration").
pub(crate) fn command(config: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<Run>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Run {
        #[serde(default)]
        entrypoint: Option<Bounded<String, MAX_WORDS>>,
        #[serde(default)]
        cmd: Option<Bounded<String, MAX_WORDS>>,
    }
    let run = serde_json::from_slice::<Image>(config).unwrap_or_default().config.unwrap_or_default();
    [run.entrypoint, run.cmd].into_iter().flatten().flat_map(|Bounded(words)| words).collect()
}

/// Whether the type says that the layer is Wasm.
fn has_wasm_type(layer: &Entry) -> bool {
    let media_type = layer.media_type.as_str();
    media_type == "application/wasm" || media_type.ends_with("+wasm")
}

/// Refuses what no proxy can take a module out of.
fn refuse_wrapped(reference: &Reference, layer: &Entry) -> Result<(), Error> {
    for (mark, what) in [("encrypted", "encrypted"), ("+par", "a provider archive")] {
        if layer.media_type.ends_with(mark) {
            return Err(unsupported(reference, &format!("its layer is {what}: {}", shown(layer))));
        }
    }
    Ok(())
}

/// Whether a path or title ends in `.wasm`.
pub(crate) fn is_named_wasm(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"))
}

fn title(layer: &Entry) -> Option<&str> {
    layer.annotations.title.as_deref()
}

/// A layer as a message shows it.
fn shown(layer: &Entry) -> String {
    let title = title(layer).map(|title| format!("{title:?} ")).unwrap_or_default();
    format!("{title}{} {}", layer.media_type, layer.digest)
}

/// Candidates as a message lists them: not too many, and nothing in them that a log cannot hold.
pub(crate) fn list(items: impl Iterator<Item = String>) -> Vec<String> {
    items.take(MAX_LISTED).map(|item| printable(&item, MAX_SHOWN)).collect()
}

/// The descriptor of what an entry names.
pub(crate) fn descriptor(reference: &Reference, what: &str, entry: &Entry) -> Result<Descriptor, Error> {
    let Entry { digest, size, media_type, .. } = entry;
    let unusable = |reason: String| unsupported(reference, &reason);
    Ok(Descriptor {
        digest: digest
            .parse()
            .map_err(|()| unusable(format!("its {what} has the digest {digest:?}, not a SHA-256")))?,
        size: (*size).try_into().map_err(|_| unusable(format!("its {what} has the size {size}")))?,
        media_type: printable(media_type, MAX_SHOWN),
    })
}

/// The error of holding nothing that can be delivered. The reason may repeat what the publisher wrote.
pub(crate) fn unsupported(reference: &Reference, reason: &str) -> Error {
    Error::Unsupported { reference: reference.to_string(), reason: printable(reason, MAX_REASON) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    /// Each layer: media type, title, size.
    fn select(config: &str, selector: &str, layers: &[(&str, &str, i64)]) -> Result<Choice, Error> {
        let layer = |(number, (media_type, title, size)): (usize, &(&str, &str, i64))| {
            let annotations = json!({ "org.opencontainers.image.title": title });
            let annotations = if title.is_empty() { Value::Null } else { annotations };
            json!({"mediaType": media_type, "digest": digest(number), "size": size, "annotations": annotations})
        };
        let layers: Vec<_> = layers.iter().enumerate().map(layer).collect();
        let config = json!({"mediaType": config, "digest": digest(99), "size": 2});
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        let reference = Reference::parse(&format!("add{selector}"), &"localhost:5000".parse().unwrap()).unwrap();
        match parse(&reference, manifest.as_bytes())? {
            Manifest::Image(image) => choose(&reference, &image),
            Manifest::Index(_) => unreachable!("it has layers"),
        }
    }

    #[test]
    fn one_layer_is_the_module() {
        let either = |path: &str| Form::Either((!path.is_empty()).then(|| path.to_owned()));
        for (selector, layers, number, form) in [
            ("", &[(WASM, "", 7)][..], 0, Form::Module),
            ("", &[("application/wasm", "", 7)], 0, Form::Module),
            ("", &[("application/octet-stream", "", 7)], 0, either("")),
            ("", &[(TAR, "", 7)], 0, either("")),
            ("#in/it.wasm", &[(TAR, "", 7)], 0, either("in/it.wasm")),
            ("", &[("text/plain", "", 1), (WASM, "", 7), ("application/json", "", 2)], 1, Form::Module),
            ("", &[("text/plain", "readme", 1), (TAR, "add.wasm", 7)], 1, either("")),
            ("#b", &[(WASM, "a", 1), (WASM, "b", 7)], 1, Form::Module),
            ("#a", &[(TAR, "a", 1), (TAR, "b", 7)], 0, either("")),
        ] {
            let choice = select("application/vnd.oci.empty.v1+json", selector, layers).unwrap();
            assert_eq!((choice.layer.digest.to_string(), choice.form), (digest(number), form), "{selector} {layers:?}");
        }
        let selector = format!("#{}", digest(1));
        let choice = select("", &selector, &[(WASM, "", 1), (WASM, "", 2)]).unwrap();
        assert_eq!(choice.layer.size, 2);
    }

    #[test]
    fn an_image_has_it_in_its_last_layer() {
        let layers = [(TAR, "", 1), (TAR, "", 2)];
        let choice = select(IMAGE_CONFIGS[0], "", &layers).unwrap();
        assert!(choice.layer.size == 2 && matches!(choice.form, Form::Image { compat: false, .. }), "{choice:?}");
        let choice = select(IMAGE_CONFIGS[1], "#app.wasm", &layers).unwrap();
        assert_eq!(choice.form, Form::Either(Some("app.wasm".into())));
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
        assert_eq!(parse(&reference, both).unwrap_err().code(), "unsupported");
    }

    /// Each entry: os/architecture, or nothing.
    fn platform(platforms: &[&str]) -> Result<usize, Error> {
        let entry = |(number, platform): (usize, &&str)| {
            let (os, architecture) = platform.split_once('/').unwrap_or_default();
            let platform = json!({"os": os, "architecture": architecture});
            let platform = if os.is_empty() { Value::Null } else { platform };
            json!({"mediaType": "application/json", "digest": digest(number), "size": number, "platform": platform})
        };
        let entries: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        let reference = Reference::parse("add", &"localhost:5000".parse().unwrap()).unwrap();
        match parse(&reference, index.as_bytes())? {
            Manifest::Index(index) => for_wasm(&reference, &index).map(|it| usize::try_from(it.size).unwrap()),
            Manifest::Image(_) => unreachable!("it has no layers"),
        }
    }

    #[test]
    fn an_index_has_one_manifest_for_wasm() {
        for (platforms, number) in [
            (&["linux/amd64", "wasi/wasm", "unknown/unknown"][..], 1),
            (&["wasip1/wasm", "linux/wasm"], 0),
            (&["linux/amd64", "linux/wasm32"], 1),
            (&["", "unknown/unknown"], 0),
            (&["linux/amd64"], 0),
            (&["wasi/wasm", ""], 0),
        ] {
            assert_eq!(platform(platforms).unwrap(), number, "{platforms:?}");
        }
        for (platforms, code) in [
            (&[][..], "unsupported"),
            (&["unknown/unknown"], "unsupported"),
            (&["linux/amd64", "linux/arm64"], "unsupported"),
            (&["wasip1/wasm", "wasip2/wasm"], "ambiguous"),
            (&["", ""], "ambiguous"),
        ] {
            assert_eq!(platform(platforms).unwrap_err().code(), code, "{platforms:?}");
        }
    }
}
