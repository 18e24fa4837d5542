//! What is wrong with a configuration.

use std::fmt;

use super::setting::Setting;

/// Every problem of a configuration, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem{}:\n{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, lines(problems))]
pub struct ConfigError {
    /// The problems: unknown settings and contradictions first, then in the order of the settings.
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
            Self::Missing { setting, accepts } => write!(f, "{} is missing; give {accepts}", setting.name),
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
