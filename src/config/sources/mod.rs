//! Where settings come from: flags, then the environment, then a configuration file.

mod file;
mod given;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::file::File;
pub(super) use self::given::Given;
pub use self::given::Origin;
use self::given::nearest;
use super::problem::Problem;
use super::setting::{FILE_SUFFIX, Setting, in_order};
use super::table;
use super::values::printable_value;

/// The configuration file that is read where none is named.
const USUAL_FILE: &str = "config.toml";

/// Returns the value of an environment variable.
pub(super) type Lookup<'a> = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync + 'a>;

/// Where settings come from.
pub struct Sources<'a> {
    /// The settings that there are, in the order of the documentation.
    pub(super) settings: Vec<&'static Setting>,
    flags: HashMap<&'static str, OsString>,
    environment: Lookup<'a>,
    file: Option<File>,
    /// Values that stand in for the defaults.
    defaults: HashMap<&'static str, String>,
    /// What is wrong with the configuration file.
    pub(super) problems: Vec<Problem>,
}

/// A setting and what is in force for it.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// What is given for it, or its default; secrets are `***`. It may be one that is not accepted.
    pub value: Option<String>,
    /// Where that comes from.
    pub origin: Origin,
}

impl<'a> Sources<'a> {
    /// The variables that `lookup` finds, and nothing else. An empty value counts as unset.
    #[must_use]
    pub fn of_variables(lookup: impl Fn(&str) -> Option<OsString> + Send + Sync + 'a) -> Self {
        Self {
            settings: table::SETTINGS.to_vec(),
            flags: HashMap::new(),
            environment: Box::new(lookup),
            file: None,
            defaults: HashMap::new(),
            problems: Vec::new(),
        }
    }

    /// The same for further settings beside those of the core.
    #[must_use]
    pub fn with_settings(mut self, further: &[&'static Setting]) -> Self {
        self.settings = in_order(&[further, &self.settings]);
        self
    }

    /// The same, but the flags, by the names of their settings, come first.
    #[must_use]
    pub fn with_flags(mut self, flags: HashMap<&'static str, OsString>) -> Self {
        self.flags = flags;
        self
    }

    /// The same, and after everything else the configuration file that `setting` names, or else `config.toml` in the working
    /// directory.
    #[must_use]
    pub fn with_file(mut self, setting: &'static Setting) -> Self {
        let named = self.find(setting).into_iter().next();
        let path = named.as_ref().map_or_else(|| USUAL_FILE.into(), |given| PathBuf::from(&given.value));
        if named.is_none() && !path.exists() {
            return self;
        }
        let known: Vec<_> = self.settings.iter().copied().filter(|known| *known != setting).collect();
        match File::read(&path, named.is_some(), &known) {
            Ok((file, problems)) => {
                self.file = Some(file);
                self.problems = problems;
            }
            Err(reason) => {
                let name = named.map_or_else(|| USUAL_FILE.into(), |given| given.origin.to_string());
                let given = format!("{:?}, {reason}", path.display().to_string());
                self.problems.push(Problem::Bad { setting, name, given, accepts: setting.accepts.into() });
            }
        }
        self
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
        self.defaults.get(setting.name).map(String::as_str).or(setting.default)
    }

    /// Everything that is given for a setting in the strongest place where something is.
    pub(super) fn find(&self, setting: &'static Setting) -> Vec<Given> {
        let flag = || {
            let given = self.flags.get(setting.name).filter(|value| !value.is_empty())?;
            Some(Given { origin: Origin::Flag(setting.flag()), value: given.clone(), is_path: setting.is_secret })
        };
        let in_file = || self.file.iter().flat_map(|file| file.find(setting)).collect();
        [
            flag().into_iter().collect(),
            self.find_variables(setting, setting.names()),
            self.find_variables(setting, setting.old_name),
        ]
        .into_iter()
        .find(|given: &Vec<_>| !given.is_empty())
        .unwrap_or_else(in_file)
    }

    fn find_variables(&self, setting: &Setting, names: impl IntoIterator<Item = &'static str>) -> Vec<Given> {
        let variable = |name: String, is_path| {
            let value = self.variable(&name)?;
            Some(Given { origin: Origin::Variable(name), value, is_path })
        };
        let given = |name: &'static str| {
            let in_file = setting.is_secret.then(|| variable(format!("{name}{FILE_SUFFIX}"), true)).flatten();
            variable(name.into(), false).into_iter().chain(in_file)
        };
        names.into_iter().flat_map(given).collect()
    }

    /// Every setting and what is in force for it.
    #[must_use]
    pub fn explain(&self) -> Vec<Effective> {
        let explain = |setting: &'static Setting| {
            let given = self.find(setting).into_iter().next();
            let value = match &given {
                Some(_) if setting.is_secret => Some("***".into()),
                Some(given) => Some(printable_value(&given.value.to_string_lossy())),
                None => self.default(setting).map(str::to_owned),
            };
            Effective { setting, value, origin: given.map_or(Origin::Default, |given| given.origin) }
        };
        self.settings.iter().copied().map(explain).collect()
    }

    /// The variables among `names` that look like settings and are none, each with the setting that may be meant.
    #[must_use]
    pub fn unknown_variables(&self, names: impl IntoIterator<Item = String>) -> Vec<(String, Option<String>)> {
        let names_of = |setting: &&'static Setting| {
            let files = setting.names().filter(|_| setting.is_secret).map(|name| format!("{name}{FILE_SUFFIX}"));
            setting.names().chain(setting.old_name).map(str::to_owned).chain(files)
        };
        let known: Vec<String> = self.settings.iter().flat_map(names_of).collect();
        let unknown = names.into_iter().filter(|name| name.starts_with("PROXY_") && !known.contains(name));
        unknown.map(|name| (nearest(&name, &known), name)).map(|(near, name)| (name, near)).collect()
    }
}
