//! Deliver WebAssembly modules from OCI registries to edge devices over MQTT.
//!
//! This is the core of propeller-proxy; the daemon in `rust-bin/` and the Python package in `python/` are made of it. It
//! knows no command line, no HTTP endpoint and no Python.
//!
//! # Guided tour
//!
//! A device publishes `{"app_name": "localhost:5000/add:1.0"}`. Read `service/pipeline.rs` next: it is the path of that
//! request in reading order, with a picture of the tasks and channels. Its steps lead into the other folders:
//!
//! 1. **Receive.** A [`mqtt::Connection`] to the broker has the message; [`mqtt::topic`] knows its channel, and
//!    [`mqtt::request`] reads the `app_name`. [`state`] has the request on disk before the broker gets its PUBACK.
//! 2. **Admit.** [`delivery::rules`] decide: the request opens a transfer, joins a running one, waits for another replica, or
//!    is rejected. They are one state machine, the [`Coordinator`](delivery::rules::coordinator::Coordinator), which takes
//!    events with a time and returns actions. The service performs those actions; a simulation performs the same ones.
//! 3. **Resolve and fetch.** [`oci::reference`] makes registry, repository and tag of the name, and [`oci::policy`] decides
//!    whether a request may reach them. [`oci::pull`] brings the module to disk: it resolves the reference at the
//!    [`oci::registry`] or a mirror, reads the manifest, checks its signature, selects the layer, and takes the blob from the
//!    [`oci::store`] or downloads it. Only bytes with the right size and SHA-256 become an [`oci::blob::Blob`].
//! 4. **Plan.** [`delivery::rules::versions`] cut the module into a number of chunks by which no device mixes it with another
//!    version, and the state has that on disk before the first chunk.
//! 5. **Claim.** A replica publishes that it will send, and waits until the broker delivers its claim back.
//! 6. **Send.** The coordinator gives turns, chunk by chunk. The [`delivery::sender`] reads the chunk, [`mqtt::chunk`] writes
//!    the message, and the broker acknowledges it with PUBACK or PUBCOMP.
//! 7. **Outcome.** Requests are covered, or the transfer ends for a reason. [`telemetry`] says so in the log, in spans, on the
//!    status topic, in events and in metrics.
//!
//! A failure on the way is an [`error::Error`]: its code, the side it is on, and what to do. [`tls`] is the one TLS set-up of
//! broker and registries. A caller in this process uses [`service::Service::deliver`], which takes the same path.
//! [`config`] fills the options of all folders from flags, environment and a file.
//!
//! With the feature `embedded`, `embedded` has a broker and a registry inside the process, and `device` is a stock proplet:
//! for the demo, tests and fixtures.
//!
//! Each folder says in its `mod.rs` what it knows and what it must never know; `docs/architecture.md` has the arrows of
//! imports, and a test compares them with the sources.

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
