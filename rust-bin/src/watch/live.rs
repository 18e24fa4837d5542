//! The table on a terminal: a row for each transfer under way, and above it a line for each that has ended.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use propeller_proxy::mqtt::status::{DeliveryState, Status};
use propeller_proxy::mqtt::topic::Layout;

use super::update::{Update, state_name};
use crate::failure::Failure;
use crate::terminal::printable;

/// Rows that are shown; the oldest are removed first.
#[doc(alias = "bound")]
const MAX_ROWS: usize = 64;

/// What identifies a row: domain, channel, layout and name.
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
    pub(super) fn is_visible(&self) -> bool {
        !self.bars.is_hidden()
    }

    pub(super) fn show(&mut self, update: &Update) -> Result<(), Failure> {
        let Status { app_name, state, total_chunks, sent_chunks, .. } = &update.status;
        let key = (update.domain_id.clone(), update.channel_id.clone(), update.layout, app_name.clone());
        let row = self.rows.iter().position(|(known, _)| *known == key);
        if matches!(state, DeliveryState::Sent | DeliveryState::Failed) {
            if let Some(row) = row {
                self.bars.remove(&self.rows.remove(row).1);
            }
            return self.print(&update.line());
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

    /// Prints a message above the rows.
    pub(super) fn print_message(&self, message: &str) {
        // Nobody can read it if the terminal is gone.
        let _ = self.bars.println(message);
    }

    fn print(&self, line: &str) -> Result<(), Failure> {
        self.bars.println(line).map_err(|_| Failure::OutputClosed)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // A row that stays would seem to go on. If the terminal is gone, so are they.
        let _ = self.bars.clear();
    }
}
