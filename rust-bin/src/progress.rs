//! Progress bars: on a terminal only, and only while the work goes on.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::terminal::printable;
use crate::verbosity::Verbosity;

/// Where bars are drawn: standard error, if that is a terminal.
pub(crate) fn bars(verbosity: Verbosity) -> MultiProgress {
    let target = if verbosity.is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    MultiProgress::with_draw_target(target)
}

/// A bar of chunks, whose number is not known yet.
pub(crate) fn of_chunks(bars: &MultiProgress, name: &str) -> ProgressBar {
    let template = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} chunks");
    let style = template.unwrap_or(ProgressStyle::default_bar());
    let bar = ProgressBar::no_length().with_style(style).with_finish(ProgressFinish::AndClear);
    let bar = bars.add(bar);
    bar.set_message(printable(name));
    bar
}

/// Notes how many chunks are done of how many.
pub(crate) fn note(bar: &ProgressBar, done: u64, total: u64) {
    if total > 0 {
        bar.set_length(total);
        bar.set_position(done);
    }
}
