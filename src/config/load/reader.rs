//! Reading values setting by setting, and collecting what is wrong.

use std::collections::HashMap;
use std::fmt;

use crate::config::settings::{Part, SETTINGS, Setting};
use crate::config::sources::{Origin, Sources, shown};

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
        /// The setting.
        setting: &'static Setting,
        /// What is accepted, and why it is needed where that is not plain.
        accepts: String,
    },
    /// Its value is not accepted.
    Bad {
        /// The setting.
        setting: &'static Setting,
        /// The variable, flag or key by which it was given.
        name: String,
        /// The value, quoted; secrets are not shown.
        given: String,
        /// What is accepted.
        accepts: String,
    },
    /// Two variables, or keys, for it have different values.
    Conflict {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The configuration file has a key that is no setting.
    Unknown {
        /// The key, and in which file.
        name: String,
        /// The key that may be meant.
        near: Option<String>,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { setting, accepts } => write!(f, "{} is missing; give {accepts}", setting.names[0]),
            Self::Bad { name, given, accepts, .. } => write!(f, "{name} is {given}; give {accepts}"),
            Self::Conflict { first, second } => {
                write!(f, "{first} and {second} mean the same and have different values; give one of them")
            }
            Self::Unknown { name, near: Some(near) } => write!(f, "{name} is no setting; did you mean {near}?"),
            Self::Unknown { name, near: None } if name.starts_with("workload_key ") => {
                write!(f, "{name} is no setting: modules are sent as they are, not encrypted; leave it out")
            }
            Self::Unknown { name, near: None } => {
                write!(f, "{name} is no setting; `propeller-proxy config` lists them")
            }
        }
    }
}

/// What was given for one setting.
struct Given {
    origin: Origin,
    value: String,
}

/// Reads values setting by setting and collects what is wrong.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources<'a>,
    /// By the setting's first name; `None` where the value is unusable and that is already reported.
    given: HashMap<&'static str, Option<Given>>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of some parts of the settings: others are not looked at, nor the files that they name.
    pub(super) fn of(parts: &[Part], sources: &'a Sources<'a>) -> Self {
        let mut reader = Self { sources, given: HashMap::new(), problems: sources.problems.clone() };
        for setting in SETTINGS.iter().filter(|setting| parts.contains(&setting.part)) {
            reader.gather(setting);
        }
        reader
    }

    /// Finds the value of one setting.
    fn gather(&mut self, setting: &'static Setting) {
        let found = self.sources.find(setting);
        if let [first, rest @ ..] = found.as_slice()
            && let Some(second) = rest.iter().find(|other| !other.agrees_with(first))
        {
            let (first, second) = (first.origin.to_string(), second.origin.to_string());
            self.problems.push(Problem::Conflict { first, second });
        }
        let Some(given) = found.into_iter().next() else { return };
        let (origin, accepts) = (given.origin.clone(), given.accepts(setting));
        let value = match given.read(setting) {
            Ok(value) => Some(Given { origin, value }),
            Err(given) => {
                self.problems.push(Problem::Bad { setting, name: origin.to_string(), given, accepts });
                None
            }
        };
        self.given.insert(setting.names[0], value);
    }

    /// The result, if nothing is wrong. What is wrong is told in the order of the settings, contradictions first.
    pub(super) fn finish<T>(mut self, config: Option<T>) -> Result<T, ConfigError> {
        let position = |setting: &Setting| SETTINGS.iter().position(|other| *other == setting);
        self.problems.sort_by_key(|problem| match problem {
            Problem::Conflict { .. } | Problem::Unknown { .. } => None,
            Problem::Missing { setting, .. } | Problem::Bad { setting, .. } => position(setting),
        });
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }

    pub(super) fn is_set(&self, setting: &Setting) -> bool {
        self.given.contains_key(setting.names[0])
    }

    /// The name by which a setting is given, or its first one.
    pub(super) fn name_of(&self, setting: &'static Setting) -> String {
        let given = self.given.get(setting.names[0]).and_then(Option::as_ref);
        given.map_or_else(|| setting.names[0].into(), |given| given.origin.to_string())
    }

    /// The value of a setting that may be left out.
    pub(super) fn optional<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let unusable = |value: &str| if setting.secret { "set to something else".into() } else { shown(value) };
        self.explained(setting, |value| parse(value).ok_or_else(|| unusable(value)))
    }

    /// The same, where what is wrong can be said, as words that follow "is".
    pub(super) fn explained<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Given { origin, value } = self.given.get(setting.names[0])?.as_ref()?;
        let name = origin.to_string();
        let unusable = |given| Problem::Bad { setting, name, given, accepts: setting.accepts.into() };
        parse(value).map_err(|given| self.problems.push(unusable(given))).ok()
    }

    /// The value of a setting that must be given, or has a default.
    pub(super) fn required<T>(&mut self, setting: &'static Setting, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        if self.is_set(setting) {
            return self.optional(setting, parse);
        }
        let default = self.sources.default(setting).and_then(parse);
        if default.is_none() {
            self.problems.push(Problem::Missing { setting, accepts: setting.accepts.into() });
        }
        default
    }

    /// Two settings that make sense together only.
    pub(super) fn pair(&mut self, one: &'static Setting, other: &'static Setting) {
        for (given, missing) in [(one, other), (other, one)] {
            if self.is_set(given) && !self.is_set(missing) {
                let accepts = format!("{}, or leave {} out", missing.accepts, self.name_of(given));
                self.problems.push(Problem::Missing { setting: missing, accepts });
            }
        }
    }
}
