//! The daemon as a process: signals, the HTTP endpoint, metrics, traces, systemd, the log, and secrets in it.

mod configuration;
mod configuration_file;
mod daemon;
mod log;
mod metrics;
mod notify;
mod observability;
mod secrets;
mod traces;
