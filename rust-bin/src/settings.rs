//! Settings as flags of the command line, over the environment and the configuration file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::marker::PhantomData;

use clap::builder::OsStringValueParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use propeller_proxy::config::{FILE_SUFFIX, Part, SETTINGS, Setting, Sources};
use propeller_proxy::oci::reference::Reference;

/// What the settings of a command are about.
pub(crate) trait Parts {
    const PARTS: &'static [Part];
    /// Settings beside those, by their first names.
    const FURTHER: &'static [&'static str] = &[];
}

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct All;

impl Parts for All {
    const PARTS: &'static [Part] = Part::ALL;
}

/// What reaching the channels needs.
#[derive(Debug, Clone)]
pub(crate) struct OfChannels;

impl Parts for OfChannels {
    const PARTS: &'static [Part] = &[Part::Broker, Part::Channels];
}

/// What fetching from registries and pushing to them needs.
#[derive(Debug, Clone)]
pub(crate) struct OfRegistry;

impl Parts for OfRegistry {
    const PARTS: &'static [Part] = &[Part::Registry, Part::Store];
}

/// The same, and what becomes of a module before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct OfModules;

impl Parts for OfModules {
    const PARTS: &'static [Part] = &[Part::Registry, Part::Store, Part::Delivery];
}

/// What delivering takes, without what the daemon is called and tells.
#[derive(Debug, Clone)]
pub(crate) struct OfDeliveries;

impl Parts for OfDeliveries {
    const PARTS: &'static [Part] = &[Part::Broker, Part::Channels, Part::Registry, Part::Store, Part::Delivery];
    const FURTHER: &'static [&'static str] = &["PROXY_STATE_DIR"];
}

/// What the daemon tells those who run it.
#[derive(Debug, Clone)]
pub(crate) struct OfOperation;

impl Parts for OfOperation {
    const PARTS: &'static [Part] = &[Part::Operation];
}

/// The flags of a command for the settings that it needs.
#[derive(Debug, Clone)]
pub(crate) struct Flags<P> {
    /// By the first name of the setting.
    given: HashMap<&'static str, OsString>,
    parts: PhantomData<P>,
}

impl<P> Flags<P> {
    /// The flags, the environment of this process and the configuration file as sources of settings.
    pub(crate) fn sources(&self) -> Sources<'static> {
        Sources::new(self.given.clone(), |name| std::env::var_os(name))
    }

    /// The same for a command about `reference`: where no registry is configured, it is the reference's own.
    pub(crate) fn sources_for(&self, reference: &str) -> Sources<'static> {
        match Reference::named_host(reference) {
            Some(host) => self.sources().with_default("PROXY_REGISTRY_URL", host.to_owned()),
            None => self.sources(),
        }
    }
}

/// Says which variables of the environment look like settings and are none, a sentence each.
pub(crate) fn unknown_variables() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Sources::unknown_variables(names).into_iter().map(|(name, near)| match near {
        Some(near) => format!("{name} is no setting; did you mean {near}?"),
        None => format!("{name} is no setting, and is ignored"),
    })
}

fn settings<P: Parts>() -> impl Iterator<Item = &'static Setting> {
    let is_named = |name| name == "PROXY_CONFIG_FILE" || P::FURTHER.contains(&name);
    let is_wanted = move |setting: &Setting| P::PARTS.contains(&setting.part) || is_named(setting.names[0]);
    SETTINGS.iter().copied().filter(move |setting| is_wanted(setting))
}

fn flag(setting: &'static Setting) -> Arg {
    let (suffix, value_name) = if setting.secret { (FILE_SUFFIX, "FILE") } else { ("", "VALUE") };
    let file = if setting.secret { "File that has the value: " } else { "" };
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let about = setting.help.trim_end_matches('.').replace('`', "");
    let help = format!("{file}{about}{default} [env: {}{suffix}]", setting.names[0]);
    Arg::new(setting.names[0])
        .long(setting.flag())
        .value_name(value_name)
        .value_parser(OsStringValueParser::new())
        .hide_short_help(true)
        .help_heading(format!("{} settings", setting.part.title()))
        .help(help.clone())
        // Manual pages leave out what the short help does, unless there is a long one.
        .long_help(help)
}

impl<P: Parts> Args for Flags<P> {
    fn augment_args(command: Command) -> Command {
        command.args(settings::<P>().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Parts> FromArgMatches for Flags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = settings::<P>().filter_map(|setting| {
            let name = setting.names[0];
            Some((name, matches.get_one::<OsString>(name)?.clone()))
        });
        Ok(Self { given: given.collect(), parts: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
