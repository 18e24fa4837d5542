//! The command line of an image (OCI image specification, "Image Configuration").

use serde::Deserialize;

use super::schema::Bounded;

/// Words of an image's entry point, and of its command, that are read.
#[doc(alias = "bound")]
const MAX_WORDS: usize = 64;

/// The words of the command line, entry point first; none if the configuration is unreadable.
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
