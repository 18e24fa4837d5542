//! `docs/configuration.md`, written from the table of settings.

use propeller_proxy::config::{FILE_SUFFIX, Part, SETTINGS, Setting};

/// Returns the page.
pub fn page() -> String {
    let code = |text: &str| format!("`{text}`");
    let setting = |setting: &&Setting| {
        let name = setting.names[0];
        let aliases: Vec<_> = setting.names[1..].iter().chain(setting.old_names).map(|name| code(name)).collect();
        let keys: Vec<_> = setting.keys().map(|key| code(&key)).collect();
        let rows = [
            ("Flag", Some(code(&format!("--{}", setting.flag())))),
            ("Key in the file", Some(keys.join(", ")).filter(|_| name != "PROXY_CONFIG_FILE")),
            (
                "From a file",
                setting
                    .secret
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
    let part = |part: &Part| {
        let settings: String = SETTINGS.iter().filter(|setting| setting.part == *part).map(setting).collect();
        format!("## {}\n\n{settings}", part.title())
    };
    let parts: String = Part::ALL.iter().map(part).collect();
    format!("{}\n\n{}\n", include_str!("configuration.md").trim_end(), parts.trim_end())
}
