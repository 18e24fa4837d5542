//! The log on standard error: for people, or one JSON object a line. And where traces branch off.

mod json;
mod pretty;
mod queue;
mod value;

use std::any::Any;
use std::io::{self, IsTerminal};
use std::panic::{self, Location};
use std::thread;

use opentelemetry_sdk::trace::SdkTracer;
use propeller_proxy::telemetry::CALLERS;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use self::json::Json;
pub(crate) use self::queue::{flush, print};
use crate::operation::LogFormat;
use crate::terminal::is_coloured;

/// Starts the log. Libraries log warnings and errors only: their lower levels may hold headers.
/// What `tracer` traces is ours alone, whatever the level of the log.
pub(crate) fn start(level: Level, format: LogFormat, tracer: Option<SdkTracer>) {
    let queue = match queue::open() {
        Ok(queue) => queue,
        Err(error) => return print(&format!("error: the log cannot be written: {error}")),
    };
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
    let lines = lines(is_pretty, is_coloured(&io::stderr()), move || queue);
    let spans = tracer.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        layer.with_filter(Targets::new().with_target("propeller_proxy", Level::DEBUG))
    });
    // A host program (the Python interpreter) may have a log already; then that one is used.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).with(spans).try_init();
    // The usual hook writes to standard error itself, and so may wait for its reader.
    panic::set_hook(Box::new(|panic| tell_panic(panic.location(), panic.payload())));
}

/// What formats events as lines.
fn lines<S, W>(is_pretty: bool, is_coloured: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    if is_pretty {
        lines.with_target(false).with_ansi(is_coloured).fmt_fields(pretty::fields()).boxed()
    } else {
        lines.event_format(Json).fmt_fields(JsonFields::new()).boxed()
    }
}

/// Logs a panic.
fn tell_panic(place: Option<&Location<'_>>, payload: &(dyn Any + Send)) {
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    let place = place.map(tracing::field::display);
    let thread = thread::current();
    error!(event = "panicked", thread = thread.name(), place, "a task panicked: {words}");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use propeller_proxy::error::is_obeyed;
    use propeller_proxy::util::sync::lock;
    use serde_json::Value;
    use tracing::{info, info_span};

    use super::value::MAX_VALUE;
    use super::*;

    /// As names from elsewhere may be.
    const HOSTILE: &str = "a\nb\u{1b}[31m\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\"c";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of what `log` logs.
    fn logged(is_pretty: bool, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(lines(is_pretty, false, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lock(&written.0).clone()).unwrap();
        assert!(text.ends_with('\n'));
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|line| !line.contains(is_obeyed)), "{lines:?}");
        lines
    }

    fn hostile() {
        let long = format!("{HOSTILE}{}!", "ä".repeat(5000));
        let _span = info_span!("delivery", app_name = HOSTILE, long).entered();
        info!(event = "x", count = -1, ok = true, given = HOSTILE, shown = %HOSTILE, long, "failed: {HOSTILE}");
    }

    #[test]
    fn a_line_of_json_has_one_event() {
        let lines = logged(false, hostile);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with("{\"timestamp\":\"20"), "{line}");
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["level"], &line["event"], &line["count"], &line["ok"]),
            (&"INFO".into(), &"x".into(), &(-1).into(), &true.into())
        );
        assert_eq!((&line["given"], &line["shown"]), (&HOSTILE.into(), &HOSTILE.into()));
        assert_eq!(line["message"], format!("failed: {HOSTILE}"));
        assert_eq!(line["target"], module_path!());
        assert_eq!((&line["spans"][0]["name"], &line["spans"][0]["app_name"]), (&"delivery".into(), &HOSTILE.into()));
        for long in [&line["long"], &line["spans"][0]["long"]] {
            let long = long.as_str().unwrap();
            assert_eq!(long.chars().count(), MAX_VALUE);
            assert!(long.contains("ä…ä") && long.ends_with("ä!"), "{long}");
        }
    }

    #[test]
    fn a_line_for_people_has_one_event() {
        let lines = logged(true, hostile);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        for part in [
            "delivery{app_name=\"a\\nb",
            "failed: a\\nb\\u{1b}[31m\\u{7f}\\u{85}\\u{2028}\\u{2029}\\u{202e}\\u{2066}\"c event=\"x\" count=-1 ok=true given=\"a\\nb",
            "shown=a\\nb",
            "ä…ä",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(line.chars().count() < 5 * MAX_VALUE, "{line}");
    }

    #[test]
    fn a_panic_is_one_line() {
        let panic = || tell_panic(Some(Location::caller()), &format!("for {HOSTILE}"));
        let lines = logged(false, panic);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((lines.len(), &line["event"]), (1, &"panicked".into()));
        assert!(line["place"].as_str().unwrap().contains("logging/mod.rs:"), "{line}");
        assert!(line["message"].as_str().unwrap().ends_with(HOSTILE), "{line}");
    }
}
