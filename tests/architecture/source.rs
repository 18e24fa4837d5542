//! A source file as far as arrows need it: the modules that it declares, the names that it imports, the paths that it
//! names. What is compiled for tests only is not looked at.

use std::collections::HashSet;

use super::tokens::{Token, tokens};

const ITEMS: [&str; 9] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules"];

/// A path of names.
pub type Names = Vec<String>;

/// One file. Scopes are the names of the inline modules around.
#[derive(Debug, Default)]
pub struct Source {
    /// Inline modules, by their path from the file's own module.
    pub inline_modules: Vec<Names>,
    /// Modules of the file's own that are for tests only.
    pub test_modules: Vec<Names>,
    /// Whether all of the file is for tests only.
    pub is_test: bool,
    pub imports: Vec<Import>,
    pub paths: Vec<Path>,
    /// Names of the items that the file defines.
    pub definitions: HashSet<String>,
    /// Words outside of imports.
    pub mentions: HashSet<String>,
}

/// One name of a `use` declaration.
#[derive(Debug)]
pub struct Import {
    pub scope: Names,
    pub path: Names,
    /// What it is called here; none for `*`.
    pub name: Option<String>,
    pub is_public: bool,
    pub line: usize,
}

/// A path of two names or more outside of imports.
#[derive(Debug)]
pub struct Path {
    pub scope: Names,
    pub names: Names,
    pub line: usize,
}

/// Reads a source.
pub fn read(text: &str) -> Source {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, source: Source::default() };
    reader.read();
    reader.source
}

struct Reader<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    source: Source,
}

impl Reader<'_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        self.token(ahead).and_then(Token::word)
    }

    fn is(&self, ahead: usize, mark: char) -> bool {
        self.token(ahead) == Some(&Token::Mark(mark))
    }

    fn read(&mut self) {
        let (mut depth, mut is_public) = (0, false);
        // Inline modules that are open, each with the depth of its braces.
        let mut open: Vec<(String, usize)> = Vec::new();
        while let Some(token) = self.token(0).cloned() {
            let scope: Names = open.iter().map(|(name, _)| name.clone()).collect();
            let was_public = std::mem::take(&mut is_public);
            match token {
                Token::Mark('#') => {
                    if self.read_attribute(&scope) {
                        return;
                    }
                }
                Token::Mark('{') => (depth, self.at) = (depth + 1, self.at + 1),
                Token::Mark('}') => {
                    depth -= 1;
                    open.pop_if(|(_, outside)| *outside == depth);
                    self.at += 1;
                }
                Token::Word(word) if word == "pub" => {
                    is_public = true;
                    self.at += 1;
                    if self.is(0, '(') {
                        self.skip_group();
                    }
                }
                Token::Word(word) if word == "mod" && self.word(1).is_some() && self.is(2, '{') => {
                    open.push((self.word(1).unwrap_or_default().to_owned(), depth));
                    self.source.inline_modules.push(open.iter().map(|(name, _)| name.clone()).collect());
                    self.at += 2;
                }
                Token::Word(word) if word == "use" && !self.is(1, '<') => {
                    self.at += 1;
                    self.read_import(&scope, Vec::new(), was_public);
                }
                Token::Word(word) => self.read_word(&word, scope),
                _ => self.at += 1,
            }
        }
    }

    /// Reads a word outside of declarations of modules and imports, with the path that it begins.
    fn read_word(&mut self, word: &str, scope: Names) {
        if ITEMS.contains(&word) {
            let ahead = if self.is(1, '!') { 2 } else { 1 };
            if let Some(name) = self.word(ahead).map(str::to_owned) {
                self.source.definitions.insert(name);
            }
        }
        let line = self.tokens[self.at].0;
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at].1);
        let is_inside = matches!(before, Some(Token::Path | Token::Mark('.')));
        let mut names = vec![word.to_owned()];
        self.at += 1;
        while let (Some(Token::Path), Some(next)) = (self.token(0), self.word(1)) {
            names.push(next.to_owned());
            self.at += 2;
        }
        self.source.mentions.extend(names.iter().cloned());
        if names.len() > 1 && !is_inside {
            self.source.paths.push(Path { scope, names, line });
        }
    }

    /// Reads an attribute, and skips what is for tests only; returns whether that is the rest of the file.
    fn read_attribute(&mut self, scope: &[String]) -> bool {
        let is_inner = self.is(1, '!');
        let begin = self.at;
        self.at += if is_inner { 2 } else { 1 };
        if !self.is(0, '[') {
            return false;
        }
        let inside = self.at + 1;
        self.skip_group();
        let words: Vec<_> = self.tokens[inside..self.at].iter().filter_map(|(_, token)| token.word()).collect();
        if !matches!(words[..], ["cfg", "test", ..] | ["cfg", "all", "test", ..]) {
            // Its paths count.
            self.at = inside.max(begin + 1);
            return false;
        }
        if is_inner {
            self.source.is_test = true;
            return true;
        }
        self.skip_item(scope);
        false
    }

    /// Skips an item with its further attributes.
    fn skip_item(&mut self, scope: &[String]) {
        while self.is(0, '#') {
            self.at += 1;
            self.skip_group();
        }
        let is_import = (0..4).any(|ahead| self.word(ahead) == Some("use"));
        while let Some(token) = self.token(0).cloned() {
            match token {
                Token::Word(word) if word == "mod" => {
                    let name = self.word(1).unwrap_or_default().to_owned();
                    self.source.test_modules.push([scope, &[name]].concat());
                    self.at += 1;
                }
                Token::Mark(';') => {
                    self.at += 1;
                    return;
                }
                Token::Mark('{') => {
                    self.skip_group();
                    if !is_import {
                        return;
                    }
                }
                Token::Mark('(' | '[') => self.skip_group(),
                _ => self.at += 1,
            }
        }
    }

    /// Skips what is in brackets, and them.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.token(0) {
            match token {
                Token::Mark('(' | '[' | '{') => depth += 1,
                Token::Mark(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Reads one tree of a `use` declaration, to the mark after it.
    fn read_import(&mut self, scope: &[String], mut path: Names, is_public: bool) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        if self.token(0) == Some(&Token::Path) {
            self.at += 1;
        }
        let mut name = path.last().cloned();
        while let Some(token) = self.token(0).cloned() {
            self.at += 1;
            match token {
                Token::Word(word) if word == "as" => {
                    name = self.word(0).map(str::to_owned);
                    self.at += 1;
                }
                // `a::{self}` is `a`.
                Token::Word(word) if word == "self" && !path.is_empty() => {}
                Token::Word(word) => {
                    name = Some(word.clone());
                    path.push(word);
                }
                Token::Path => {}
                Token::Mark('*') => name = None,
                Token::Mark('{') => {
                    while !self.is(0, '}') && self.token(0).is_some() {
                        self.read_import(scope, path.clone(), is_public);
                        if self.is(0, ',') {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                Token::Mark(_) => {
                    self.at -= 1;
                    break;
                }
            }
        }
        self.source.imports.push(Import { scope: scope.to_vec(), path, name, is_public, line });
    }
}
