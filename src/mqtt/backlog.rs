//! Whether the broker still delivers what it queued in a persistent session.

/// Round trips after a resumed session in which the broker may deliver its backlog.
#[doc(alias = "bound")]
const MAX_ROUND_TRIPS: u32 = 100;
/// Messages beside requests that a broker delivers within one round trip while it has more of the backlog. Brokers keep
/// at least so many in flight to a client.
#[doc(alias = "bound")]
const FULL_WINDOW: u32 = 10;

/// The messages that the broker queued in the persistent session while the connection was down.
///
/// MQTT 3.1.1 has no packet that ends them. So the driver subscribes again until no request arrives between two SUBACK
/// packets. Status messages of replicas that run arrive all the time, and say nothing; only where they fill the window of
/// messages in flight, queued requests may be behind them.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    is_pending: bool,
    has_request: bool,
    others: u32,
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

    /// Notes a message on a request topic, or on another one.
    pub(super) fn receive(&mut self, is_request: bool) {
        self.has_request |= is_request;
        self.others = self.others.saturating_add(u32::from(!is_request));
    }

    /// Notes the end of a round trip.
    pub(super) fn end_round_trip(&mut self) {
        self.round_trips += 1;
        let has_more = self.has_request || self.others >= FULL_WINDOW;
        self.is_pending &= has_more && self.round_trips < MAX_ROUND_TRIPS;
        (self.has_request, self.others) = (false, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_ends_with_a_round_trip_without_requests() {
        let mut backlog = Backlog::of(true);
        for _ in 0..3 {
            backlog.receive(true);
            backlog.end_round_trip();
            assert!(backlog.is_pending());
        }
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
        backlog.receive(true);
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
    }

    #[test]
    fn status_messages_of_replicas_that_run_do_not_prolong_a_backlog() {
        let mut backlog = Backlog::of(true);
        for _ in 1..FULL_WINDOW {
            backlog.receive(false);
        }
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
    }

    #[test]
    fn queued_requests_may_be_behind_a_window_of_queued_status_messages() {
        let mut backlog = Backlog::of(true);
        for _ in 0..3 {
            (0..FULL_WINDOW).for_each(|_| backlog.receive(false));
            backlog.end_round_trip();
            assert!(backlog.is_pending());
        }
        backlog.end_round_trip();
        assert!(!backlog.is_pending());
    }

    #[test]
    fn a_backlog_is_bounded_and_a_new_session_has_none() {
        let mut backlog = Backlog::of(true);
        for _ in 0..MAX_ROUND_TRIPS {
            assert!(backlog.is_pending());
            backlog.receive(true);
            backlog.end_round_trip();
        }
        assert!(!backlog.is_pending());
        assert!(!Backlog::of(false).is_pending());
    }
}
