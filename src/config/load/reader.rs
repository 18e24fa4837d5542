//! Reading values setting by setting, and collecting what is wrong.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

use crate::config::settings::{SETTINGS, Setting};

/// Every problem of a configuration, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem{}:\n{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, lines(problems))]
pub struct ConfigError {
    /// The problems: contradictions first, then in the order of [`SETTINGS`].
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is required and not given.
    Missing {
        /// The variable.
        name: &'static str,
        /// What is accepted, and why it is needed where that is not plain.
        accepts: String,
    },
    /// Its value is not accepted.
    Bad {
        /// The variable.
        name: &'static str,
        /// The value, quoted; secrets are not shown.
        given: String,
        /// What is accepted.
        accepts: String,
    },
    /// Two variables for it have different values.
    Conflict {
        /// One variable.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, accepts } => write!(f, "{name} is missing; give {accepts}"),
            Self::Bad { name, given, accepts } => write!(f, "{name} is {given}; give {accepts}"),
            Self::Conflict { first, second } => {
                write!(f, "{first} and {second} mean the same and have different values; give one of them")
            }
        }
    }
}

/// What was given for one setting.
pub(super) struct Given {
    name: &'static str,
    value: String,
}

/// Reads values setting by setting and collects what is wrong.
pub(super) struct Reader {
    /// By the setting's first name; `None` where the value is unusable and that is already reported.
    given: HashMap<&'static str, Option<Given>>,
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(lookup: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let mut reader = Self { given: HashMap::new(), problems: Vec::new() };
        for setting in SETTINGS {
            reader.gather(setting, lookup);
        }
        reader
    }

    /// Finds the value of one setting among its names.
    fn gather(&mut self, setting: &'static Setting, lookup: &dyn Fn(&str) -> Option<OsString>) {
        let set = |names: &'static [&'static str]| -> Vec<(&'static str, OsString)> {
            names.iter().filter_map(|name| Some((*name, lookup(name).filter(|value| !value.is_empty())?))).collect()
        };
        let current = set(setting.names);
        if let [(first, value), rest @ ..] = current.as_slice()
            && let Some((second, _)) = rest.iter().find(|(_, other)| other != value)
        {
            self.problems.push(Problem::Conflict { first, second });
        }
        let Some((name, value)) = current.into_iter().chain(set(setting.old_names)).next() else { return };
        match value.into_string() {
            Ok(value) => {
                self.given.insert(setting.names[0], Some(Given { name, value }));
            }
            Err(value) => {
                let given =
                    if setting.secret { "not UTF-8".into() } else { format!("\"{}\", not UTF-8", value.display()) };
                self.problems.push(Problem::Bad { name, given, accepts: setting.accepts.into() });
                self.given.insert(setting.names[0], None);
            }
        }
    }

    /// The result, if nothing is wrong. What is wrong is told in the order of the settings, contradictions first.
    pub(super) fn finish<T>(mut self, config: Option<T>) -> Result<T, ConfigError> {
        let position = |name: &str| SETTINGS.iter().position(|setting| setting.has_name(name));
        self.problems.sort_by_key(|problem| match problem {
            Problem::Conflict { .. } => None,
            Problem::Missing { name, .. } | Problem::Bad { name, .. } => position(name),
        });
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }

    pub(super) fn is_set(&self, setting: &Setting) -> bool {
        self.given.contains_key(setting.names[0])
    }

    /// The value of a setting that may be left out.
    pub(super) fn optional<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let &Given { name, ref value } = self.given.get(setting.names[0])?.as_ref()?;
        let parsed = parse(value);
        if parsed.is_none() {
            let given = if setting.secret { "set to something else".into() } else { shown(value) };
            self.problems.push(Problem::Bad { name, given, accepts: setting.accepts.into() });
        }
        parsed
    }

    /// The value of a setting that must be given, or has a default.
    pub(super) fn required<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if self.is_set(setting) {
            return self.optional(setting, parse);
        }
        let default = setting.default.and_then(parse);
        if default.is_none() {
            self.problems.push(Problem::Missing { name: setting.names[0], accepts: setting.accepts.into() });
        }
        default
    }

    /// Two settings that make sense together only.
    pub(super) fn pair(&mut self, one: &'static Setting, other: &'static Setting) {
        for (given, missing) in [(one, other), (other, one)] {
            if self.is_set(given) && !self.is_set(missing) {
                let name = self.given[given.names[0]].as_ref().map_or(given.names[0], |given| given.name);
                let accepts = format!("{}, or leave {name} out", missing.accepts);
                self.problems.push(Problem::Missing { name: missing.names[0], accepts });
            }
        }
    }
}

/// A value as a message shows it; what may be a user name and password in a URL is left out.
fn shown(value: &str) -> String {
    if value.contains("-----BEGIN") {
        return "a PEM text of another kind".into();
    }
    match value.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("\"{}***@{}\"", scheme.escape_debug(), after.escape_debug())
        }
        None => format!("{value:?}"),
    }
}
