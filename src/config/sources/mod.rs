//! Where settings come from: flags, then the environment, then a configuration file.

mod file;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use self::file::File;
use super::load::Problem;
use super::settings::{CONFIG_FILE, FILE_SUFFIX, SETTINGS, Setting};

/// The configuration file that is read where none is named.
const USUAL_FILE: &str = "config.toml";
/// Largest file with a secret, bytes.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// Returns the value of an environment variable.
pub(super) type Lookup<'a> = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync + 'a>;

/// Where settings come from.
pub struct Sources<'a> {
    flags: HashMap<&'static str, OsString>,
    environment: Lookup<'a>,
    file: Option<File>,
    /// What the program knows better than the defaults.
    defaults: HashMap<&'static str, String>,
    /// What is wrong with the configuration file.
    pub(super) problems: Vec<Problem>,
}

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
    /// It is what holds where nothing is given.
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
pub(super) struct Given {
    pub(super) origin: Origin,
    pub(super) value: OsString,
    /// Whether the value is the path of a file that has it.
    is_path: bool,
}

/// A setting and what is in force for it.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// What is given for it, or its default; secrets are `***`. Whether it is accepted, is not asked.
    pub value: Option<String>,
    /// Where that comes from.
    pub origin: Origin,
}

impl<'a> Sources<'a> {
    /// The variables that `lookup` finds, and nothing else. An empty value counts as unset.
    #[must_use]
    pub fn of_variables(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'a) -> Self {
        Self {
            flags: HashMap::new(),
            environment: Box::new(lookup),
            file: None,
            defaults: HashMap::new(),
            problems: Vec::new(),
        }
    }

    /// The flags, by the first name of their setting; the variables that `lookup` finds; and the configuration file that
    /// these name, or else `config.toml` in the working directory.
    #[must_use]
    pub fn new(
        flags: HashMap<&'static str, OsString>,
        lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'a,
    ) -> Self {
        let mut sources = Self { flags, ..Self::of_variables(lookup) };
        let named = sources.find(&CONFIG_FILE).into_iter().next();
        let path = named.as_ref().map_or_else(|| USUAL_FILE.into(), |given| PathBuf::from(&given.value));
        if named.is_some() || path.exists() {
            match File::read(&path, named.is_some()) {
                Ok((file, problems)) => {
                    sources.file = Some(file);
                    sources.problems = problems;
                }
                Err(reason) => {
                    let name = named.map_or_else(|| USUAL_FILE.into(), |given| given.origin.to_string());
                    let given = format!("{:?}, {reason}", path.display().to_string());
                    let accepts = CONFIG_FILE.accepts.into();
                    sources.problems.push(Problem::Bad { setting: &CONFIG_FILE, name, given, accepts });
                }
            }
        }
        sources
    }

    /// The same, but where no value is given for the setting of the variable `name`, it is `value` instead of its default.
    #[must_use]
    pub fn with_default(mut self, name: &'static str, value: String) -> Self {
        self.defaults.insert(name, value);
        self
    }

    /// The value of an environment variable that is no setting.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// The configuration file, if one is read.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// What holds where nothing is given.
    pub(super) fn default(&self, setting: &Setting) -> Option<&str> {
        self.defaults.get(setting.names[0]).map(String::as_str).or(setting.default)
    }

    /// Everything that is given for a setting in the strongest place where something is.
    pub(super) fn find(&self, setting: &'static Setting) -> Vec<Given> {
        let flag = || {
            let given = self.flags.get(setting.names[0]).filter(|value| !value.is_empty())?;
            Some(Given { origin: Origin::Flag(setting.flag()), value: given.clone(), is_path: setting.secret })
        };
        let variables = |names: &'static [&'static str]| self.find_variables(setting, names);
        let in_file = || self.file.iter().flat_map(|file| file.find(setting)).collect();
        [flag().into_iter().collect(), variables(setting.names), variables(setting.old_names)]
            .into_iter()
            .find(|given: &Vec<_>| !given.is_empty())
            .unwrap_or_else(in_file)
    }

    fn find_variables(&self, setting: &Setting, names: &'static [&'static str]) -> Vec<Given> {
        let variable = |name: String, is_path| {
            let value = self.variable(&name)?;
            Some(Given { origin: Origin::Variable(name), value, is_path })
        };
        names
            .iter()
            .flat_map(|name| {
                let in_file = setting.secret.then(|| variable(format!("{name}{FILE_SUFFIX}"), true)).flatten();
                variable((*name).into(), false).into_iter().chain(in_file)
            })
            .collect()
    }

    /// Every setting and what is in force for it.
    #[must_use]
    pub fn explain(&self) -> Vec<Effective> {
        let explain = |setting: &'static Setting| {
            let given = self.find(setting).into_iter().next();
            let value = match &given {
                Some(_) if setting.secret => Some("***".into()),
                Some(given) => Some(printable_value(&given.value.to_string_lossy())),
                None => self.default(setting).map(str::to_owned),
            };
            Effective { setting, value, origin: given.map_or(Origin::Default, |given| given.origin) }
        };
        SETTINGS.iter().copied().map(explain).collect()
    }

    /// The variables among `names` that look like settings and are none, each with the setting that may be meant.
    #[must_use]
    pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<(String, Option<String>)> {
        let known: Vec<String> = SETTINGS
            .iter()
            .flat_map(|setting| {
                let files = setting.names.iter().filter(|_| setting.secret).map(|name| format!("{name}{FILE_SUFFIX}"));
                setting.names.iter().chain(setting.old_names).map(ToString::to_string).chain(files)
            })
            .collect();
        let unknown = names.into_iter().filter(|name| name.starts_with("PROXY_") && !known.contains(name));
        unknown.map(|name| (nearest(&name, &known), name)).map(|(near, name)| (name, near)).collect()
    }
}

impl Given {
    /// The value itself, for `setting`.
    ///
    /// # Errors
    /// What is wrong with it, as words that follow "is".
    pub(super) fn read(self, setting: &Setting) -> Result<String, String> {
        if !self.is_path {
            return self.value.into_string().map_err(|value| {
                if setting.secret { "not UTF-8".into() } else { format!("\"{}\", not UTF-8", value.display()) }
            });
        }
        let path = PathBuf::from(self.value);
        let shown = format!("{:?}", path.display().to_string());
        let secret = std::fs::metadata(&path).and_then(|about| {
            if about.len() > MAX_SECRET_FILE {
                Err(std::io::ErrorKind::FileTooLarge.into())
            } else {
                std::fs::read(&path)
            }
        });
        let secret = secret.map_err(|error| format!("{shown}, which cannot be read: {error}"))?;
        let secret = String::from_utf8(secret).map_err(|_| format!("{shown}, which is not UTF-8"))?;
        // Editors end files with one.
        let secret = secret.strip_suffix('\n').map_or(&*secret, |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() { Err(format!("{shown}, which is empty")) } else { Ok(secret.to_owned()) }
    }

    /// Whether a value of the same setting may stand beside it.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.is_path == other.is_path && self.value == other.value
    }

    /// What may be written where the value was to be a secret.
    pub(super) fn accepts(&self, setting: &Setting) -> String {
        if self.is_path { format!("the path of a file that has {}", setting.accepts) } else { setting.accepts.into() }
    }
}

/// What is written most like `word`, if something is.
pub(super) fn nearest(word: &str, known: &[String]) -> Option<String> {
    let near =
        known.iter().map(|name| (strsim::damerau_levenshtein(word, name), name)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= 1 + word.len() / 5).map(|(_, name)| name.clone())
}

/// A value as a message shows it.
pub(super) fn shown(value: &str) -> String {
    if value.contains("-----BEGIN") { "a PEM text".into() } else { format!("{:?}", printable_value(value)) }
}

/// A value as people are shown it: a key, and what may be a user name, a password or a token in a URL, are left out.
fn printable_value(value: &str) -> String {
    if value.contains("-----BEGIN") {
        return "(PEM)".into();
    }
    let value = match value.split_once('?') {
        Some((before, _)) if value.contains("://") => &format!("{before}?***"),
        _ => value,
    };
    match value.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("{scheme}***@{after}")
        }
        None => value.to_owned(),
    }
}
