//! A line that is a JSON object.

use std::fmt::{self, Debug};

use propeller_proxy::error::shortened;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::value::MAX_VALUE;
use crate::output;

/// Formats an event: time, level, its fields, target; and the spans around it, the outermost first.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let scope = context.event_scope().into_iter().flat_map(Scope::from_root);
        let spans = scope.map(|span| {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
            let mut fields: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
            for value in fields.values_mut() {
                if let Value::String(text) = value {
                    *text = shortened(text, MAX_VALUE).into_owned();
                }
            }
            fields.insert("name".into(), span.name().into());
            fields
        });
        let line = Line { timestamp, event, spans: spans.collect() };
        writeln!(writer, "{}", output::json_line(&line))
    }
}

struct Line<'a> {
    timestamp: String,
    event: &'a Event<'a>,
    spans: Vec<Map<String, Value>>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metadata = self.event.metadata();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("level", metadata.level().as_str())?;
        let mut fields = Fields { map, target: metadata.target().into(), outcome: Ok(()) };
        self.event.record(&mut fields);
        let Fields { mut map, target, outcome } = fields;
        outcome?;
        map.serialize_entry("target", &target)?;
        if !self.spans.is_empty() {
            map.serialize_entry("spans", &self.spans)?;
        }
        map.end()
    }
}

/// Writes the fields of an event.
struct Fields<M: SerializeMap> {
    map: M,
    target: String,
    outcome: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<M> {
    fn write(&mut self, field: &Field, value: &impl Serialize) {
        match field.name() {
            // Where a record of the crate `log` comes from.
            name if name.starts_with("log.") => {}
            name if self.outcome.is_ok() => self.outcome = self.map.serialize_entry(name, value),
            _ => {}
        }
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
        self.write(field, &shortened(value, MAX_VALUE));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, &shortened(&format!("{value:?}"), MAX_VALUE));
    }
}
