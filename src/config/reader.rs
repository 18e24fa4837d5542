//! Reading the values of settings, and collecting what is wrong.

use std::collections::HashMap;
use std::path::PathBuf;

use super::problem::{ConfigError, Problem};
use super::setting::{Setting, Typed};
use super::sources::{Origin, Sources};

/// What was given for one setting.
struct Given {
    origin: Origin,
    value: String,
}

/// Reads values setting by setting and collects what is wrong.
pub struct Reader<'a> {
    sources: &'a Sources<'a>,
    /// By the setting's name; `None` where the value is unusable and that is already reported.
    given: HashMap<&'static str, Option<Given>>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of those settings for which `is_used` holds: others are not read, nor the files that they name.
    pub(super) fn new(sources: &'a Sources<'a>, is_used: fn(&Setting) -> bool) -> Self {
        let mut reader = Self { sources, given: HashMap::new(), problems: sources.problems.clone() };
        for setting in sources.settings.iter().filter(|setting| is_used(setting)) {
            reader.gather(setting);
        }
        reader
    }

    /// Finds the value of one setting.
    fn gather(&mut self, setting: &'static Setting) {
        let all = self.sources.find(setting);
        if let [first, rest @ ..] = all.as_slice()
            && let Some(second) = rest.iter().find(|other| !other.agrees_with(first))
        {
            let (first, second) = (first.origin.to_string(), second.origin.to_string());
            self.problems.push(Problem::Conflict { first, second });
        }
        let Some(given) = all.into_iter().next() else { return };
        let (origin, accepts) = (given.origin.clone(), given.accepts(setting));
        let value = match given.read(setting) {
            Ok(value) => Some(Given { origin, value }),
            Err(given) => {
                self.problems.push(Problem::Bad { setting, name: origin.to_string(), given, accepts });
                None
            }
        };
        self.given.insert(setting.name, value);
    }

    /// The result, if nothing is wrong.
    pub(super) fn finish<T>(mut self, result: Option<T>) -> Result<T, ConfigError> {
        let position = |setting: &Setting| self.sources.settings.iter().position(|other| *other == setting);
        self.problems.sort_by_key(|problem| match problem {
            Problem::Conflict { .. } | Problem::Unknown { .. } => None,
            Problem::Missing { setting, .. } | Problem::Bad { setting, .. } => position(setting),
        });
        match result {
            Some(result) if self.problems.is_empty() => Ok(result),
            _ => Err(ConfigError { problems: self.problems }),
        }
    }

    /// The value of a setting that must be given or has a default; nothing if a problem was found.
    pub fn required<T>(&mut self, row: &'static Typed<T>) -> Option<T> {
        if self.is_set(row) {
            return self.parse(row);
        }
        let default = self.sources.default(&row.setting).and_then(|text| row.parse(text).ok());
        if default.is_none() {
            self.missing(&row.setting, row.setting.accepts.into());
        }
        default
    }

    /// The value of an optional setting, if it is given; `None` if it is not valid.
    pub fn optional<T>(&mut self, row: &'static Typed<T>) -> Option<Option<T>> {
        if self.is_set(row) { self.parse(row).map(Some) } else { Some(None) }
    }

    /// The same for one whose value is empty if it is not given.
    pub fn or_default<T: Default>(&mut self, row: &'static Typed<T>) -> Option<T> {
        self.optional(row).map(Option::unwrap_or_default)
    }

    /// What is given for a setting; nothing also if it is not set.
    fn parse<T>(&mut self, row: &'static Typed<T>) -> Option<T> {
        let Given { origin, value } = self.given.get(row.setting.name)?.as_ref()?;
        let (setting, name) = (&row.setting, origin.to_string());
        let unusable = |given| Problem::Bad { setting, name, given, accepts: setting.accepts.into() };
        row.parse(value).map_err(|given| self.problems.push(unusable(given))).ok()
    }

    /// Whether something is given for a setting, usable or not.
    pub(super) fn is_set<T>(&self, row: &Typed<T>) -> bool {
        self.given.contains_key(row.setting.name)
    }

    /// Demands of two settings that make sense together only that both are given, or neither.
    pub(super) fn pair<T, U>(&mut self, one: &'static Typed<T>, other: &'static Typed<U>) {
        let (one_is_set, other_is_set) = (self.is_set(one), self.is_set(other));
        let (given, missing) = match (one_is_set, other_is_set) {
            (true, false) => (&one.setting, &other.setting),
            (false, true) => (&other.setting, &one.setting),
            _ => return,
        };
        self.missing(missing, format!("{}, or leave {} out", missing.accepts, self.name_of(given)));
    }

    fn missing(&mut self, setting: &'static Setting, accepts: String) {
        self.problems.push(Problem::Missing { setting, accepts });
    }

    /// Reports a value that is no good together with others, in words that follow "is".
    pub(super) fn reject(&mut self, setting: &'static Setting, given: String, accepts: String) {
        let name = self.name_of(setting);
        self.problems.push(Problem::Bad { setting, name, given, accepts });
    }

    /// The name by which a setting is given, or its first one.
    fn name_of(&self, setting: &'static Setting) -> String {
        let given = self.given.get(setting.name).and_then(Option::as_ref);
        given.map_or_else(|| setting.name.into(), |given| given.origin.to_string())
    }

    /// The first folder that is given, by a variable and what comes below it.
    pub(super) fn folder(&self, places: &[(&str, &str)]) -> Option<PathBuf> {
        let place = |(name, below): &(&str, &str)| Some(PathBuf::from(self.sources.variable(name)?).join(below));
        places.iter().find_map(place)
    }
}
