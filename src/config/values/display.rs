//! Values as people see them.

/// A value as a message shows it.
pub(in crate::config) fn shown(value: &str) -> String {
    if value.contains("-----BEGIN") { "a PEM text".into() } else { format!("{:?}", printable_value(value)) }
}

/// A value for people, without keys, and without what may be a user name, a password or a token in a URL.
pub(in crate::config) fn printable_value(value: &str) -> String {
    if value.contains("-----BEGIN") {
        return "(PEM)".into();
    }
    let value = match value.split_once('?') {
        Some((before, _)) if value.contains("://") => &format!("{before}?***"),
        _ => value,
    };
    match value.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
            format!("{scheme}***@{after}")
        }
        None => value.to_owned(),
    }
}
