//! Deliver WebAssembly modules from OCI registries to edge devices over MQTT.
//!
//! This is the core of propeller-proxy; the daemon in `rust-bin/` and the Python package in `python/` are built on it. It
//! contains no command line, no page or API over HTTP, and no Python.
//!
//! Each folder says in its `mod.rs` what it knows and what it must never know. `docs/architecture.md` says which file to
//! change for what, and which imports are permitted (a test compares those with the sources); `docs/glossary.md` has the terms.
//!
//! # Guided tour
//!
//! A device publishes `{"app_name": "localhost:5000/add:1.0"}`. Read `service/pipeline.rs` next: it is the path of that
//! request in reading order, with a picture of the tasks and channels. Its steps lead into the other folders:
//!
//! 1. **Receive.** A [`mqtt::Connection`] to the broker receives the message; [`mqtt::topic`] finds its channel, and
//!    [`mqtt::request`] reads the `app_name`, called by `service/inbox.rs`. [`state`] writes the request to disk, and
//!    then the broker gets its PUBACK; the next step does not wait for that.
//! 2. **Admit.** The rules in `delivery/rules/` decide: the request opens a transfer, joins a running one, waits for another
//!    replica of the same group, or is rejected. They are one state machine, the coordinator, which takes events with a time
//!    and returns actions. The service performs those actions; a simulation performs the same ones.
//! 3. **Resolve and fetch.** [`oci::reference`] parses the name into registry, repository and tag, and `oci/policy.rs` decides
//!    whether a request may reach them. [`oci::pull`] brings the module to disk: it resolves the reference by
//!    [`oci::registry`], which tries each mirror once and then the registry with retries (`registry/retry.rs`); selects the
//!    layer of the artifact by `oci/manifest/`; checks the signature; takes the blob from the [`oci::store`] or downloads
//!    it; and unpacks it if it is an archive (`oci/archive/`). Only bytes with the right size and SHA-256, or out of a layer
//!    with them, become an [`oci::blob::Blob`]. `service/fetch.rs` then checks that it is WebAssembly.
//! 4. **Plan.** `delivery/rules/versions.rs` chooses a number of chunks such that no device can mix them with the chunks of
//!    another version, and that plan is on disk before the first chunk is published.
//! 5. **Claim**, only in a group of replicas and not for repeats: `delivery/rules/group.rs` publishes that it will send, and
//!    waits until the broker delivers that back and nobody objected.
//! 6. **Send.** `delivery/rules/schedule/` decides which transfer sends its next chunk. The sender (`delivery/sender.rs`)
//!    reads the chunk, [`mqtt::chunk`] writes the message, and the broker acknowledges it with PUBACK or PUBCOMP (at QoS 0,
//!    being written to the socket counts).
//! 7. **Outcome.** Requests are covered: every chunk was published and acknowledged since they came. The transfer then rests, and
//!    the schedule repeats it where devices may have missed it. Or it ends without that, with a reason. [`telemetry`] records
//!    each step in the log, on the status topic, in events and in metrics, whose table is in [`util::metrics`].
//!
//! A failure on the way is an [`error::Error`]: its code, whether device, broker, registry or proxy is at fault, and what to do.
//! [`tls`] is the only TLS configuration, for broker and registries. A caller in this process uses [`service::Service::deliver`], which takes
//! the same path, without the disk and without waiting for other replicas.
//! [`config`] has the table of settings (`config/table.rs`), and fills the options of the
//! folders (`options.rs`) from flags, environment and a file.
//!
//! With the feature `embedded`, `embedded` has a broker and a registry inside the process, and `device` is a device by
//! the rules of Propeller's, a proplet: for the demo, tests and fixtures.

pub mod config;
pub mod delivery;
#[cfg(feature = "embedded")]
pub mod device;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod mqtt;
pub mod oci;
pub mod service;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod util;
