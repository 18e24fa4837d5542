//! The command line of `deliver`.

use std::time::Duration;

use clap::Args;
use propeller_proxy::delivery::DeliveryOptions;
use propeller_proxy::mqtt::BrokerOptions;
use propeller_proxy::mqtt::topic::Channels;
use propeller_proxy::oci::options::RegistryOptions;
use propeller_proxy::oci::store::StoreOptions;
use propeller_proxy::state::StateOptions;

use crate::channel::Topics;
use crate::exit;
use crate::output::Format;
use crate::settings::Flags;
use crate::verbosity::Verbosity;

const EXAMPLES: &[&str] = &[
    "propeller-proxy deliver localhost:5000/add:1.0",
    "propeller-proxy deliver add:1.0 sub:2.1 --channel factory-7",
    "propeller-proxy deliver add@sha256:4d5e… --format json",
];

/// How often progress is read.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What has flags. The name and the group of the proxy have none: they are not this command's.
type Flagged = (BrokerOptions, Channels, RegistryOptions, StoreOptions, StateOptions, DeliveryOptions);

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_BROKER))]
pub(crate) struct Options {
    /// What to deliver, as devices would ask for it
    #[arg(required = true, value_name = "REF")]
    pub(super) references: Vec<String>,
    /// The channel, if several are configured
    #[arg(long, value_name = "ID")]
    pub(super) channel: Option<String>,
    /// The topics on which the devices listen
    #[arg(long, value_enum, default_value_t)]
    pub(super) layout: Topics,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) verbosity: Verbosity,
    #[command(flatten)]
    pub(super) settings: Flags<Flagged>,
}
