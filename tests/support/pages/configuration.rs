//! `docs/configuration.md`, written from the tables of settings.

use propeller_proxy::config::{FILE_SUFFIX, Setting};

/// Returns the page.
pub fn page() -> String {
    let code = |text: &str| format!("`{text}`");
    let setting = |setting: &&Setting| {
        let name = setting.name;
        let aliases: Vec<_> = setting.alias.into_iter().chain(setting.old_name).map(code).collect();
        let keys: Vec<_> = setting.keys().map(|key| code(&key)).collect();
        let rows = [
            ("Flag", Some(code(&format!("--{}", setting.flag())))),
            ("Key in the file", Some(keys.join(", ")).filter(|_| name != "PROXY_CONFIG_FILE")),
            (
                "From a file",
                setting
                    .is_secret
                    .then(|| format!("`{name}{FILE_SUFFIX}`, `{}_file`", setting.keys().next().unwrap_or_default())),
            ),
            ("Also", Some(aliases.join(", ")).filter(|aliases| !aliases.is_empty())),
            ("Default", setting.default.map(code)),
            ("Accepts", Some(setting.accepts.replace('*', "\\*").replace('[', "\\["))),
        ];
        let rows: String =
            rows.into_iter().filter_map(|(title, value)| Some(format!("- {title}: {}\n", value?))).collect();
        format!("### {name}\n\n{}\n\n{rows}\n", setting.help)
    };
    let part = |settings: &[&Setting]| {
        let rows: String = settings.iter().map(setting).collect();
        format!("## {}\n\n{rows}", settings[0].part.title())
    };
    let settings = propeller_proxy_daemon::settings();
    let parts: String = settings.chunk_by(|one, other| one.part == other.part).map(part).collect();
    format!("{}\n\n{}\n", include_str!("configuration.md").trim_end(), parts.trim_end())
}
