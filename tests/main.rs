//! Integration tests: the daemon on a real mosquitto and a real docker-registry.

mod support;

mod artifacts;
mod certificates;
mod configuration;
mod credentials;
mod daemon;
mod delivery;
mod demo;
mod egress;
mod hostile;
mod pull_policy;
mod registries;
mod secrets;
mod signatures;
mod store;
