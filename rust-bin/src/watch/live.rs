//! The table on a terminal: a row for each transfer under way, and above it what has come to its end.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use propeller_proxy::mqtt::status::{DeliveryState, Status};
use propeller_proxy::mqtt::topic::Layout;

use super::{Told, state_name};
use crate::exit::Failure;
use crate::output::printable;

/// Rows that are shown; the oldest go first.
const MAX_ROWS: usize = 64;

/// What a row is about: domain, channel, layout and name.
type Key = (String, String, Layout, String);

pub(super) struct Live {
    bars: MultiProgress,
    rows: Vec<(Key, ProgressBar)>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()), rows: Vec::new() }
    }

    /// Whether it is drawn: on a terminal that can move its cursor.
    pub(super) fn is_seen(&self) -> bool {
        !self.bars.is_hidden()
    }

    pub(super) fn show(&mut self, told: &Told) -> Result<(), Failure> {
        let Status { app_name, state, total_chunks, sent_chunks, .. } = &told.status;
        let key = (told.domain_id.clone(), told.channel_id.clone(), told.layout, app_name.clone());
        let row = self.rows.iter().position(|(known, _)| *known == key);
        if matches!(state, DeliveryState::Sent | DeliveryState::Failed) {
            if let Some(row) = row {
                self.bars.remove(&self.rows.remove(row).1);
            }
            return self.print(&told.line());
        }
        let bar = match row {
            Some(row) => self.rows[row].1.clone(),
            None => self.add(key),
        };
        bar.set_message(state_name(*state));
        if let Some(total) = total_chunks {
            bar.set_length(*total);
        }
        bar.set_position(*sent_chunks);
        Ok(())
    }

    fn add(&mut self, key: Key) -> ProgressBar {
        if self.rows.len() == MAX_ROWS {
            self.bars.remove(&self.rows.remove(0).1);
        }
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} {elapsed}");
        let bar = ProgressBar::no_length().with_style(style.unwrap_or(ProgressStyle::default_bar()));
        let bar = self.bars.add(bar.with_prefix(printable(&format!("{} {}", key.1, key.3))));
        self.rows.push((key, bar.clone()));
        bar
    }

    /// Says something above the rows.
    pub(super) fn say(&self, words: &str) {
        // If the terminal is gone, there is nobody to say it to.
        let _ = self.bars.println(words);
    }

    fn print(&self, line: &str) -> Result<(), Failure> {
        self.bars.println(line).map_err(|_| Failure::NobodyReads)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A row that stays would seem to go on. If the terminal is gone, nothing stays.
        let _ = self.bars.clear();
    }
}
