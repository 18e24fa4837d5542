//! Integration tests: the daemon on a real mosquitto and a real docker-registry.

mod support;

mod configuration;
mod daemon;
mod delivery;
mod demo;
mod registries;
