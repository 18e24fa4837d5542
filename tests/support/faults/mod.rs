//! What goes wrong: registries that misbehave, threads that stand still, links that break, tags that move, addresses nobody may dial.

pub mod clock;
pub mod faulty_registry;
pub mod flood;
pub mod frozen;
pub mod moving_tag;
pub mod relay;
pub mod trap;
pub mod tunnel;
