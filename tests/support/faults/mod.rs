//! What goes wrong: registries that misbehave, links that break, tags that move, addresses nobody may dial.

pub mod faulty_registry;
pub mod flood;
pub mod moving_tag;
pub mod relay;
pub mod trap;
pub mod tunnel;
