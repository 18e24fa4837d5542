//! How modules are delivered.

use crate::config::load::FromSettings;
use crate::config::reader::Reader;
use crate::config::setting::{Part, Setting};
use crate::config::table::{CHUNK_SIZE, MAX_IN_FLIGHT, MAX_PASSES, MAX_REPEATS, MAX_REQUESTS, PUBLISH_RATE, TAG_MOVES};
use crate::delivery::DeliveryOptions;
use crate::delivery::rules::schedule::Limits;
use crate::read_fields;

impl FromSettings for DeliveryOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Delivery
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            chunk_size: reader.required(&CHUNK_SIZE),
            tag_moves: reader.required(&TAG_MOVES),
            max_in_flight: reader.required(&MAX_IN_FLIGHT),
            limits: read_fields!(Limits {
                open_requests: reader.required(&MAX_REQUESTS),
                passes_per_minute: reader.required(&MAX_PASSES),
                publish_rate: reader.optional(&PUBLISH_RATE),
                repeats: reader.required(&MAX_REPEATS),
            }),
        })
    }
}
