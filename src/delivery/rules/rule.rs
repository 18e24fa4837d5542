//! The rules by name, so that tests can break one at a time.

/// A rule without which some device ends with the wrong bytes or with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A request is covered by every chunk from its arrival on.
    Coverage,
    /// Two versions of an app never have the same number of chunks while devices may hold chunks.
    DistinctTotals,
    /// A version is on disk before its first chunk is published.
    PersistFirst,
    /// A version that was being sent when a process ended counts as sent until the next one starts.
    Restore,
    /// Where versions may be unknown, unusual numbers of chunks are used.
    Uncertainty,
    /// A pass is repeated for a second task of one device.
    Echo,
    /// Recent requests are covered again after the broker was lost.
    CoverAgain,
    /// They are covered again only when the devices are back.
    AwaitDevices,
    /// A replica publishes a claim, and waits until the broker delivers it, before its first chunk.
    Claim,
    /// A replica takes over requests that nobody serves.
    TakeOver,
}

/// Whether `rule` is in force: always, except in a test that breaks it.
#[cfg(not(test))]
pub(super) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(super) use self::broken::{ALL, holds, with_broken};

#[cfg(test)]
mod broken {
    use std::cell::Cell;

    use super::Rule;

    /// Every rule.
    pub(in super::super) const ALL: [Rule; 10] = [
        Rule::Coverage,
        Rule::DistinctTotals,
        Rule::PersistFirst,
        Rule::Restore,
        Rule::Uncertainty,
        Rule::Echo,
        Rule::CoverAgain,
        Rule::AwaitDevices,
        Rule::Claim,
        Rule::TakeOver,
    ];

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(in super::super) fn holds(rule: Rule) -> bool {
        BROKEN.get() != Some(rule)
    }

    /// Runs `work` with one rule broken.
    pub(in super::super) fn with_broken<T>(rule: Rule, work: impl FnOnce() -> T) -> T {
        BROKEN.set(Some(rule));
        let result = work();
        BROKEN.set(None);
        result
    }
}
