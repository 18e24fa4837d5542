//! The delivery of modules: passes, joins, bounds, moving tags, restarts and replicas.

mod bounds;
mod bursts;
mod doubts;
mod fairness;
mod joining;
mod replicas;
mod restarts;
mod tag_moves;
mod transfers;
