//! The configuration, under the names that users of the original proxy know.
//!
//! A table of settings says everything about each: its names, default, help, and how a value is parsed; [`SETTINGS`] lists
//! those of the core, and a program may have a table of its own ([`settings!`](crate::settings)). [`Sources`] are where
//! values come from: flags, the environment, the configuration file. [`load`] makes the options of the other folders of
//! them, and reports every problem at once.
//!
//! This folder knows the options of every other one, and fills them. It must never be imported by a domain, and knows
//! nothing of what becomes of the options: it opens no connection and makes no folder.

mod load;
mod options;
mod problem;
mod reader;
mod setting;
mod sources;
mod table;
mod values;

pub use self::load::{FromSettings, load};
pub use self::problem::{ConfigError, Problem};
pub use self::reader::Reader;
pub use self::setting::{FILE_SUFFIX, Parsed, Part, Setting, Typed, in_order};
pub use self::sources::{Effective, Origin, Sources};
pub use self::table::SETTINGS;
pub use self::values::units::positive_duration;
pub use self::values::{LogLevel, from_str};
