//! Whether the broker still delivers what it queued in a persistent session.

/// Round trips after a resumed session in which the broker may deliver its backlog.
#[doc(alias = "bound")]
const MAX_ROUND_TRIPS: u32 = 100;

/// The messages that the broker queued in the persistent session while the connection was down.
///
/// MQTT 3.1.1 has no packet that ends them. So the driver subscribes again until nothing arrives between two SUBACK
/// packets.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    is_pending: bool,
    has_arrived: bool,
    round_trips: u32,
}

impl Backlog {
    /// The backlog of a new connection: empty if no session is present.
    pub(super) fn of(is_session_present: bool) -> Self {
        Self { is_pending: is_session_present, ..Self::default() }
    }

    /// Whether the broker may have more of it.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Notes a message.
    pub(super) fn receive(&mut self) {
        self.has_arrived = true;
    }

    /// Notes the end of a round trip.
    pub(super) fn end_round_trip(&mut self) {
        self.round_trips += 1;
        self.is_pending &= self.has_arrived && self.round_trips < MAX_ROUND_TRIPS;
        self.has_arrived = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_ends_with_a_round_trip_without_messages() {
        let mut backlog = Backlog::of(true);
        for _ in 0..3 {
            backlog.receive();
            backlog.end_round_trip();
            assert!(backlog.is_pending());
        }
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
        backlog.receive();
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
    }

    #[test]
    fn a_backlog_is_bounded_and_a_new_session_has_none() {
        let mut backlog = Backlog::of(true);
        for _ in 0..MAX_ROUND_TRIPS {
            assert!(backlog.is_pending());
            backlog.receive();
            backlog.end_round_trip();
        }
        assert!(!backlog.is_pending());
        assert!(!Backlog::of(false).is_pending());
    }
}
