//! Ports for servers that may be stopped and started again.

use uuid::Uuid;

/// Below the ports that systems give to connections, so that none takes a server's while it is down.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;
/// Ports that are tried before the system is asked for one.
const ATTEMPTS: usize = 50;

/// Ports of 127.0.0.1 to try, in this order: `port`; or if it is 0, some, and at last whichever the system gives.
pub(super) fn candidates(port: u16) -> Vec<u16> {
    if port != 0 {
        return vec![port];
    }
    let random = || FIRST + u16::try_from(Uuid::new_v4().as_u128() % u128::from(COUNT)).unwrap_or_default();
    std::iter::repeat_with(random).take(ATTEMPTS).chain([0]).collect()
}
