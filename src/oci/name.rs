//! The grammar of repository names and tags (OCI distribution specification, "Pulling manifests").

/// Whether `name` can be a repository's: components of lower-case letters and digits, with a dot, one or two
/// underscores or hyphens between, joined by slashes (OCI distribution specification, "Pulling manifests").
///
/// The libraries check this with a regular expression; compiled, that one takes 18 MB and 100 ms.
pub(crate) fn is_repository(name: &str) -> bool {
    /// Longest name that registries accept, bytes.
    const MAX_SIZE: usize = 255;
    let is_separator = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    let is_component = |component: &str| {
        let edges = [component.chars().next(), component.chars().next_back()];
        edges.into_iter().all(|edge| edge.is_some_and(is_name_character))
            && component.split(is_name_character).all(is_separator)
    };
    name.len() <= MAX_SIZE && name.split('/').all(is_component)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether `tag` can be a tag (same section): up to 128 letters, digits, dots, hyphens and underscores, the first one a
/// letter, digit or underscore.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.bytes().next().is_some_and(word)
        && tag.len() <= 128
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_tags_keep_to_their_grammar() {
        for name in ["a", "add.wasm", "a_b", "a__b", "a---b", "0/1/2", "acme/add-1.0"] {
            assert!(is_repository(name), "{name}");
        }
        for name in ["", "A", "a//b", "/a", "a/", ".a", "a.", "a..b", "a___b", "a._b", "a b", "ä", &"a".repeat(256)] {
            assert!(!is_repository(name), "{name}");
        }
        for tag in ["latest", "1.0", "_x", "V1-rc.2", &"a".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".1", "-1", "a/b", "a:b", "a b", "ä", &"a".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
