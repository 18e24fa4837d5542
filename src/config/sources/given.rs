//! What is given for a setting in one place.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::config::setting::Setting;
use crate::util::file::read_small;

/// Largest file with a secret, bytes.
#[doc(alias = "bound")]
const MAX_SECRET_FILE: u64 = 64 << 10;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, without dashes in front.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// The section `[proxy]` of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// The default, where nothing is given.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, key } => write!(f, "{key} in {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What was given for one setting, in one place.
#[derive(Debug, Clone)]
pub(in crate::config) struct Given {
    pub(in crate::config) origin: Origin,
    pub(super) value: OsString,
    /// Whether the value is the path of a file that has it.
    pub(super) is_path: bool,
}

impl Given {
    /// The value itself, for `setting`.
    ///
    /// # Errors
    /// What is wrong with it, as words that follow "is".
    pub(in crate::config) fn read(self, setting: &Setting) -> Result<String, String> {
        if !self.is_path {
            return self.value.into_string().map_err(|value| {
                if setting.is_secret { "not UTF-8".into() } else { format!("\"{}\", not UTF-8", value.display()) }
            });
        }
        let path = PathBuf::from(self.value);
        let shown = format!("{:?}", path.display().to_string());
        let secret = read_small(&path, MAX_SECRET_FILE);
        let secret = secret.map_err(|error| format!("{shown}, which cannot be read: {error}"))?;
        let secret = String::from_utf8(secret).map_err(|_| format!("{shown}, which is not UTF-8"))?;
        // Editors end files with one.
        let secret = secret.strip_suffix('\n').map_or(&*secret, |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() { Err(format!("{shown}, which is empty")) } else { Ok(secret.to_owned()) }
    }

    /// Whether a value of the same setting may stand beside it.
    pub(in crate::config) fn agrees_with(&self, other: &Self) -> bool {
        self.is_path == other.is_path && self.value == other.value
    }

    /// What may be written where the value was to be a secret.
    pub(in crate::config) fn accepts(&self, setting: &Setting) -> String {
        if self.is_path { format!("the path of a file that has {}", setting.accepts) } else { setting.accepts.into() }
    }
}

/// What is written most like `word`, if something is.
pub(super) fn nearest(word: &str, known: &[String]) -> Option<String> {
    let near =
        known.iter().map(|name| (strsim::damerau_levenshtein(word, name), name)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= 1 + word.len() / 5).map(|(_, name)| name.clone())
}
