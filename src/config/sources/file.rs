//! The configuration file: TOML, of which the section `[proxy]` is ours.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::given::{Given, Origin, nearest};
use crate::config::problem::Problem;
use crate::config::setting::{FILE_SUFFIX, Setting};
use crate::util::file::read_small;

/// Largest configuration file, bytes.
#[doc(alias = "bound")]
const MAX_SIZE: u64 = 1 << 20;

/// The settings of a configuration file.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// By key, as the environment would have it.
    values: Vec<(String, String)>,
}

impl File {
    /// Reads the file for the `known` settings, and says what in its section is not understood.
    ///
    /// # Errors
    /// Why it is no configuration file, as words that follow its name.
    pub(super) fn read(
        path: &Path,
        is_named: bool,
        known: &[&'static Setting],
    ) -> Result<(Self, Vec<Problem>), String> {
        let text = read_small(path, MAX_SIZE).map_err(|error| format!("which cannot be read: {error}"))?;
        let text = String::from_utf8(text).map_err(|_| "which is not UTF-8".to_owned())?;
        let whole = DeTable::parse(&text).map_err(|error| place(&text, &error))?;
        let nothing = DeTable::new();
        let section = match whole.get_ref().get("proxy").map(toml::Spanned::get_ref) {
            Some(DeValue::Table(section)) => section,
            Some(_) => return Err("in which proxy is no section".into()),
            None if is_named => return Err("which has no section [proxy]".into()),
            None => &nothing,
        };
        let keys: Vec<_> = known.iter().copied().flat_map(keys_of).map(|(key, _)| key).collect();
        let setting_of = |key: &str| known.iter().find(|setting| keys_of(setting).any(|(name, _)| name == key));
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for (key, value) in section {
            let (key, value) = (key.get_ref().to_string(), value.get_ref());
            let name = Origin::File { path: path.to_owned(), key: key.clone() }.to_string();
            match (text_of(value), setting_of(&key)) {
                // An empty one is as if it were not there, also where it is not known.
                (Some(text), _) if text.is_empty() => {}
                (_, None) => problems.push(Problem::Unknown { near: nearest(&key, &keys), name }),
                (Some(text), Some(_)) => values.push((key, text)),
                (None, Some(setting)) => {
                    let given = format!("a TOML {}", value.type_str());
                    problems.push(Problem::Bad { setting, name, given, accepts: setting.accepts.into() });
                }
            }
        }
        Ok((Self { path: path.to_owned(), values }, problems))
    }

    /// What it has for a setting.
    pub(super) fn find(&self, setting: &'static Setting) -> Vec<Given> {
        let given = |key: String, is_path| {
            let (_, value) = self.values.iter().find(|(name, _)| *name == key)?;
            let origin = Origin::File { path: self.path.clone(), key };
            Some(Given { origin, value: value.into(), is_path })
        };
        keys_of(setting).filter_map(|(key, is_path)| given(key, is_path)).collect()
    }
}

/// The keys of a setting, and whether their values are paths of files that have the value.
fn keys_of(setting: &'static Setting) -> impl Iterator<Item = (String, bool)> {
    let in_files = setting.keys().filter(|_| setting.is_secret);
    let suffix = FILE_SUFFIX.to_ascii_lowercase();
    setting.keys().map(|key| (key, false)).chain(in_files.map(move |key| (format!("{key}{suffix}"), true)))
}

/// A value as the environment would have it: numbers as they are written, lists with commas between.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(values) => {
            let item = |value: &DeValue<'_>| if value.is_array() { None } else { text_of(value) };
            let items = values.iter().map(|value| item(value.get_ref())).collect::<Option<Vec<_>>>();
            items.map(|items| items.join(","))
        }
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Where a file is no TOML, without its text: that may hold secrets.
fn place(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    format!("which is no TOML in line {line}: {}", error.message())
}
