//! Integration tests: the daemon on a real mosquitto and a real docker-registry.

mod support;

mod artifacts;
mod bounds;
mod broker_loss;
mod bursts;
mod certificates;
mod channels;
mod cli;
mod configuration;
mod configuration_file;
mod credentials;
mod daemon;
mod delivery;
mod demo;
mod egress;
mod hostile;
mod joining;
mod metrics;
mod mqtt_tls;
mod notify;
mod observability;
mod pull_policy;
mod pushing;
mod registries;
mod replicas;
mod restarts;
mod secrets;
mod signatures;
mod slow_links;
mod status;
mod store;
mod tag_moves;
mod traces;
