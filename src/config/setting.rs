//! What a setting is, and how a table of settings is written.

use super::values::shown;

/// One setting: its names, and everything that people read about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable. The flag and the key in the configuration file follow from it.
    pub name: &'static str,
    /// A variable of the same standing; the two must not contradict each other.
    pub alias: Option<&'static str>,
    /// The variable of the oldest deployments, read only where neither of the others is set.
    pub old_name: Option<&'static str>,
    /// The value where none is given; `None` where there is none.
    pub default: Option<&'static str>,
    /// What is accepted, as words for an error message.
    pub accepts: &'static str,
    /// What it does, one sentence.
    pub help: &'static str,
    /// Whether its value must never be shown. Then it may also be in a file, which the names with [`FILE_SUFFIX`] give.
    pub is_secret: bool,
    /// What it is about.
    pub part: Part,
}

/// What the names of a secret end in where they give the path of a file that has it.
pub const FILE_SUFFIX: &str = "_FILE";
const PREFIX: &str = "PROXY_";

impl Setting {
    /// A setting that is optional, accepts nothing yet and has no help.
    #[must_use]
    pub const fn new(part: Part, name: &'static str) -> Self {
        let (alias, old_name, default) = (None, None, None);
        Self { name, alias, old_name, default, accepts: "", help: "", is_secret: false, part }
    }

    /// Its name, and its alias if it has one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [Some(self.name), self.alias].into_iter().flatten()
    }

    /// Its flag on the command line, without dashes in front: a secret has none, but may be in a file that a flag names.
    #[must_use]
    pub fn flag(&self) -> String {
        let suffix = if self.is_secret { FILE_SUFFIX } else { "" };
        format!("{}{suffix}", key(self.name).unwrap_or(self.name)).to_ascii_lowercase().replace('_', "-")
    }

    /// Its names in the section `[proxy]` of the configuration file.
    pub fn keys(&self) -> impl Iterator<Item = String> + use<> {
        self.names().filter_map(key).map(str::to_ascii_lowercase)
    }
}

fn key(name: &'static str) -> Option<&'static str> {
    name.strip_prefix(PREFIX)
}

/// What settings are about, in the order of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The proxy itself.
    Proxy,
    /// How those who run it observe it. The core has no such settings.
    Operation,
    /// The broker.
    Broker,
    /// The channels.
    Channels,
    /// Registries, and the rules of fetching.
    Registry,
    /// The store.
    Store,
    /// The rules of delivery.
    Delivery,
}

impl Part {
    /// Its heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Proxy => "Proxy",
            Self::Operation => "Operation",
            Self::Broker => "Broker",
            Self::Channels => "Channels",
            Self::Registry => "Registry",
            Self::Store => "Store",
            Self::Delivery => "Delivery",
        }
    }
}

/// The settings of several tables in the order of the documentation: by part, and within a part by table.
#[must_use]
pub fn in_order(tables: &[&[&'static Setting]]) -> Vec<&'static Setting> {
    let mut settings = tables.concat();
    settings.sort_by_key(|setting| setting.part);
    settings
}

/// A setting whose values are read as `T`: a row of a table, which [`settings!`](crate::settings) writes.
#[derive(Debug)]
pub struct Typed<T> {
    /// The setting.
    pub setting: Setting,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Typed<T> {
    /// What reads the values of `setting` by `parse`.
    #[must_use]
    pub const fn new(setting: Setting, parse: fn(&str) -> Result<T, String>) -> Self {
        Self { setting, parse }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with it, as words that follow "is"; of a secret they show nothing.
    pub fn parse(&self, text: &str) -> Result<T, String> {
        let unusable = |words| if self.setting.is_secret { "set to something else".into() } else { words };
        (self.parse)(text).map_err(unusable)
    }
}

/// What a parser returns: a value, or none, with or without a reason.
pub trait Parsed<T> {
    /// The value that `text` was parsed to.
    ///
    /// # Errors
    /// Why there is none, in words that follow "is": those of the parser, or `text` itself.
    fn explained(self, text: &str) -> Result<T, String>;
}

impl<T> Parsed<T> for Option<T> {
    fn explained(self, text: &str) -> Result<T, String> {
        self.ok_or_else(|| shown(text))
    }
}

impl<T> Parsed<T> for Result<T, String> {
    fn explained(self, _text: &str) -> Result<T, String> {
        self
    }
}

/// A table of settings by their parts: for each a static [`Typed`] setting, and `SETTINGS`, the list of all.
///
/// A row is an identifier, the type of the values, the environment variable, the function that parses a value, which returns
/// `Option<T>` or `Result<T, String>`; and by the names of the fields of [`Setting`] whatever else there is to say.
///
/// [`Setting`]: crate::config::Setting
/// [`Typed`]: crate::config::Typed
#[macro_export]
macro_rules! settings {
    ($($part:ident {$(
        $id:ident: $type:ty = $name:literal, parse $parse:expr $(, $field:ident $value:expr)*;
    )*})*) => {
        $($(
            pub(crate) static $id: $crate::config::Typed<$type> = $crate::config::Typed::new(
                $crate::config::Setting {
                    $($field: $value,)*
                    ..$crate::config::Setting::new($crate::config::Part::$part, $name)
                },
                |text| $crate::config::Parsed::explained($parse(text), text),
            );
        )*)*

        /// Every setting of this table, in the order of the documentation.
        pub static SETTINGS: &[&$crate::config::Setting] = &[$($(&$id.setting),*),*];
    };
}
