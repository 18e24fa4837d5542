//! The daemon as a process: signals, the HTTP endpoint, metrics, traces, systemd, and secrets in the log.

mod configuration;
mod configuration_file;
mod daemon;
mod metrics;
mod notify;
mod observability;
mod secrets;
mod traces;
