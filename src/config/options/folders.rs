//! Where blobs are kept, and what must survive a restart.

use std::path::PathBuf;

use crate::config::load::FromSettings;
use crate::config::reader::Reader;
use crate::config::setting::{Part, Setting, Typed};
use crate::config::table::{CACHE_DIR, CACHE_SIZE, STATE_DIR};
use crate::oci::store::StoreOptions;
use crate::read_fields;
use crate::state::StateOptions;

impl FromSettings for StoreOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Store
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (path, has_name) = folder(reader, &CACHE_DIR, &CACHE_FOLDERS).unzip();
        read_fields!(Self { folder: path, is_named: has_name, limit: reader.required(&CACHE_SIZE) })
    }
}

impl FromSettings for StateOptions {
    fn uses(setting: &Setting) -> bool {
        *setting == STATE_DIR.setting
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (folder, is_named) = folder(reader, &STATE_DIR, &STATE_FOLDERS)?;
        Some(Self { folder, is_named })
    }
}

/// Where the system keeps things of a kind: systemd's folder, the desktop's, the user's or everybody's.
struct Places {
    service: &'static str,
    desktop: &'static str,
    user: &'static str,
    system: &'static str,
}

const CACHE_FOLDERS: Places = Places {
    service: "CACHE_DIRECTORY",
    desktop: "XDG_CACHE_HOME",
    user: if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" },
    system: "/var/cache",
};
const STATE_FOLDERS: Places = Places {
    service: "STATE_DIRECTORY",
    desktop: "XDG_STATE_HOME",
    user: if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/state" },
    system: "/var/lib",
};

/// A folder, and whether the operator named it.
fn folder(reader: &mut Reader<'_>, named: &'static Typed<PathBuf>, places: &Places) -> Option<(PathBuf, bool)> {
    let named = reader.optional(named)?;
    let is_named = named.is_some();
    Some((named.unwrap_or_else(|| usual_folder(reader, places)), is_named))
}

fn usual_folder(reader: &Reader<'_>, places: &Places) -> PathBuf {
    const NAME: &str = "propeller-proxy";
    let Places { service, desktop, user, system } = *places;
    reader
        .folder(&[(service, "")])
        .unwrap_or_else(|| reader.folder(&[(desktop, ""), ("HOME", user)]).unwrap_or_else(|| system.into()).join(NAME))
}
