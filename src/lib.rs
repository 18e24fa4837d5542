//! Deliver WebAssembly modules from OCI registries to edge devices over MQTT.
//!
//! This is the core of propeller-proxy; the daemon in `rust-bin/` and the Python package in `python/` are made of it. It
//! knows no command line and no Python.
//!
//! # Guided tour
//!
//! A device publishes `{"app_name": "localhost:5000/add:1.0"}`. The tour follows it, and [`service`] is where the steps
//! come together: its `Service::deliver` is the whole path as one function, from top to bottom.
//!
//! 1. [`config`] told the proxy its broker, channel and registry when it started.
//! 2. [`link`] is a connection to the broker, of which there are two: one receives requests, one carries chunks. [`topic`]
//!    knows where devices ask and are answered, and [`state`] has the request on disk before it is acknowledged.
//! 3. [`request`] reads the message: what is the module called?
//! 4. [`reference`] makes an OCI reference of the name: registry, repository, tag or digest.
//! 5. [`policy`] decides whether a request may reach that registry.
//! 6. [`pull`] gets the module; its `Pull::module` tells how. It asks the [`registry`] (or its mirrors) what the reference
//!    means, shows credentials if it must, reads the `manifest`, checks its `signature`, and finds the layer.
//! 7. The [`store`] has what was fetched before. Everything else goes there: it is hashed on the way, and only what has the
//!    right size and SHA-256 becomes a [`blob::Blob`]. If the layer is an `archive`, the module is taken out. [`wasm`] looks
//!    at its preamble.
//! 8. [`chunk`] plans how the module is cut, and [`delivery::versions`] sees to it that no device mixes it with another
//!    version. [`delivery::replicas`] agree on who sends it.
//! 9. [`delivery`] sends it: the [`delivery::schedule`] says which chunk of which transfer is next, and lets further
//!    requests for the same module join; the [`delivery::courier`] reads that chunk, has [`wire`] write the message, and
//!    sees it acknowledged over the [`link`]. [`status`] tells how far it is.
//!
//! Who asks inside this process, by `Service::ask`, takes the same path; the [`journal`] tells what becomes of it.
//!
//! What goes wrong on the way is an [`error::Error`], which says on whose side and what to do. [`tls`] is the one TLS
//! configuration of both sides.
//!
//! Whoever watches over the proxy asks its [`readiness`], takes its [`metrics`], and follows its traces: a delivery is one
//! span, with one for each step below it.
//!
//! The other way, an [`artifact`] is a module packed for a registry, to which `Puller::push` brings it.
//!
//! What can go wrong can be found out beforehand: [`link::check`], [`registry::Registry::check`] [`folder::check_store`]
//! and [`folder::check_state`].
//!
//! With the feature `embedded`, the module `embedded` has a broker, a registry and a proplet inside the process, for the
//! demo, tests and fixtures.

pub mod config;
pub mod delivery;
#[cfg(feature = "embedded")]
pub mod device;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
pub mod mqtt;
pub mod oci;
pub mod service;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod util;
