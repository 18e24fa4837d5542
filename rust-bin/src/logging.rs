//! The log on standard error: for people, or one JSON object a line. And where traces branch off.

use std::io::{self, IsTerminal};

use opentelemetry_sdk::trace::SdkTracer;
use propeller_proxy::telemetry::CALLERS;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::operation::LogFormat;
use crate::terminal::is_coloured;

/// Starts the log. Libraries log warnings and errors only: their lower levels may hold headers.
/// What `tracer` traces is ours alone, whatever the level of the log.
pub(crate) fn start(level: Level, format: LogFormat, tracer: Option<SdkTracer>) {
    let theirs = LevelFilter::from_level(level).min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(theirs)
        .with_target("propeller_proxy", level)
        .with_target("propeller_proxy_daemon", level)
        // Commands print these errors themselves.
        .with_target(CALLERS, LevelFilter::OFF);
    let is_pretty = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let lines = if is_pretty {
        fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(is_coloured(&io::stderr())).boxed()
    } else {
        fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed()
    };
    let spans = tracer.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        layer.with_filter(Targets::new().with_target("propeller_proxy", Level::DEBUG))
    });
    // A host program (the Python interpreter) may have a log already; then that one is used.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).with(spans).try_init();
}
