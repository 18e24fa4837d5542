//! Settings as flags of the command line, over the environment and the configuration file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::marker::PhantomData;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use propeller_proxy::config::{self, ConfigError, FILE_SUFFIX, FromSettings, LogLevel, Setting, Sources};
use propeller_proxy::oci::reference::Reference;
use propeller_proxy::service::ServiceOptions;

use crate::operation::{self, CONFIG_FILE, Operation};

/// Everything that the daemon is made of.
pub(crate) type All = (ServiceOptions, LogLevel, Operation);

/// Every setting, in the order of the documentation.
#[must_use]
pub fn settings() -> Vec<&'static Setting> {
    config::in_order(&[operation::SETTINGS, config::SETTINGS])
}

/// The flags of a command for the settings that `T` is made of.
#[derive(Debug, Clone)]
pub(crate) struct Flags<T> {
    /// By the name of the setting.
    given: HashMap<&'static str, OsString>,
    made: PhantomData<fn() -> T>,
}

impl<T: FromSettings> Flags<T> {
    /// The flags, the environment of this process and the configuration file as sources of settings.
    pub(crate) fn sources(&self) -> Sources<'static> {
        Sources::of_variables(|name| std::env::var_os(name))
            .with_settings(operation::SETTINGS)
            .with_flags(self.given.clone())
            .with_file(&CONFIG_FILE.setting)
    }

    /// Makes of them what the command needs.
    pub(crate) fn load(&self) -> Result<T, ConfigError> {
        config::load(&self.sources())
    }

    /// The same for a command about `reference`: where no registry is configured, it is the reference's own.
    pub(crate) fn load_for(&self, reference: &str) -> Result<T, ConfigError> {
        let sources = self.sources();
        config::load(&match Reference::named_host(reference) {
            Some(host) => sources.with_default("PROXY_REGISTRY_URL", host.to_owned()),
            None => sources,
        })
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        settings().into_iter().filter(|setting| T::uses(setting) || *setting == &CONFIG_FILE.setting)
    }
}

/// The variables of the environment that look like settings and are none, a sentence each.
pub(crate) fn unknown_variables(sources: &Sources<'_>) -> impl Iterator<Item = String> + use<> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    sources.unknown_variables(names).into_iter().map(|(name, near)| match near {
        Some(near) => format!("{name} is no setting; did you mean {near}?"),
        None => format!("{name} is no setting, and is ignored"),
    })
}

fn flag(setting: &'static Setting) -> Arg {
    let (suffix, value_name) = if setting.is_secret { (FILE_SUFFIX, "FILE") } else { ("", "VALUE") };
    let file = if setting.is_secret { "File that has the value: " } else { "" };
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let about = setting.help.trim_end_matches('.').replace('`', "");
    let help = format!("{file}{about}{default} [env: {}{suffix}]", setting.name);
    Arg::new(setting.name)
        .long(setting.flag())
        .value_name(value_name)
        .value_parser(OsStringValueParser::new())
        .hide_short_help(true)
        .help_heading(format!("{} settings", setting.part.title()))
        .help(help.clone())
        // Manual pages leave out what the short help does, unless there is a long one.
        .long_help(help)
}

impl<T: FromSettings> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::settings().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: FromSettings> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |Setting { name, .. }: &'static Setting| Some((*name, matches.get_one::<OsString>(name)?.clone()));
        Ok(Self { given: Self::settings().filter_map(given).collect(), made: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_flag_of_the_daemon() {
        assert!(Flags::<All>::settings().eq(settings()));
    }
}
