//! Ports for servers that can be restarted.

use uuid::Uuid;

/// Below the ephemeral ports of common systems, so that no connection takes a server's port while it is down.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;
/// Ports that are tried before the system chooses one.
#[doc(alias = "bound")]
const ATTEMPTS: usize = 50;

/// Ports of 127.0.0.1 to try in order: `port`, or if it is 0, random ones, and at last one that the system chooses.
pub(super) fn candidates(port: u16) -> Vec<u16> {
    if port != 0 {
        return vec![port];
    }
    let random = || FIRST + u16::try_from(Uuid::new_v4().as_u128() % u128::from(COUNT)).unwrap_or_default();
    std::iter::repeat_with(random).take(ATTEMPTS).chain([0]).collect()
}
