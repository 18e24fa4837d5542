//! Words and marks of a Rust source, without comments, literals and lifetimes.

/// A word (keyword or identifier), `::`, or another mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Path,
    Mark(char),
}

impl Token {
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Returns the tokens of `text`, each with its line, from 1.
pub fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut scanner = Scanner { rest: text, line: 1 };
    let mut all = Vec::new();
    while let Some((line, token)) = scanner.next() {
        all.push((line, token));
    }
    all
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let first = self.rest.chars().next()?;
            let line = self.line;
            if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
            } else if self.rest.starts_with("::") {
                self.skip(2);
                return Some((line, Token::Path));
            } else if let Some(hashes) = raw_string(self.rest) {
                self.skip_raw_string(hashes);
            } else if first == '"' || self.rest.starts_with("b\"") || self.rest.starts_with("c\"") {
                self.skip_string();
            } else if first == '\'' || self.rest.starts_with("b'") {
                self.skip_character_or_lifetime();
            } else if first.is_alphanumeric() || first == '_' {
                let is_raw = self.rest.starts_with("r#");
                self.skip(if is_raw { 2 } else { 0 });
                let word = self.rest[..word_length(self.rest)].to_owned();
                self.skip(word.len());
                if !first.is_ascii_digit() {
                    return Some((line, Token::Word(word)));
                }
            } else {
                self.skip(first.len_utf8());
                if !first.is_whitespace() {
                    return Some((line, Token::Mark(first)));
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    /// Skips a block comment, which may hold others.
    fn skip_comment(&mut self) {
        let mut depth = 0;
        let mut at = 0;
        while at < self.rest.len() {
            let rest = &self.rest[at..];
            if rest.starts_with("/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if rest.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    break;
                }
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.skip(at);
    }

    fn skip_raw_string(&mut self, hashes: usize) {
        let begin = self.rest.find('"').map_or(0, |quote| quote + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        let length = self.rest[begin..].find(&end).map_or(self.rest.len(), |length| begin + length + end.len());
        self.skip(length);
    }

    fn skip_string(&mut self) {
        let begin = self.rest.find('"').map_or(0, |quote| quote + 1);
        self.skip(begin);
        self.skip_to_unescaped('"');
    }

    fn skip_to_unescaped(&mut self, end: char) {
        let mut is_escaped = false;
        let length = self.rest.find(|character| {
            let is_end = character == end && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        });
        self.skip(length.map_or(self.rest.len(), |length| length + 1));
    }

    fn skip_character_or_lifetime(&mut self) {
        self.skip(self.rest.find('\'').map_or(0, |quote| quote + 1));
        let mut characters = self.rest.chars();
        let (first, second) = (characters.next(), characters.next());
        if first == Some('\\') || second == Some('\'') {
            self.skip_to_unescaped('\'');
        } else {
            self.skip(word_length(self.rest));
        }
    }
}

fn word_length(text: &str) -> usize {
    text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len())
}

/// Returns the number of `#` of the raw string that `text` starts with, if it starts with one.
fn raw_string(text: &str) -> Option<usize> {
    let rest = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix).filter(|rest| rest.starts_with(['#', '"'])))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}
