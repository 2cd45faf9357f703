//! The lines of a file that findings are in, each with the lines that it stands below.
//!
//! Its invariant: a file is read once and walked through once, whatever the number of findings, if they come in the order
//! of lines. It shows nothing: shown.rs decides what may be seen.

use std::path::{Path, PathBuf};

use crate::files;

/// The last file that was read.
#[derive(Default)]
pub(super) struct Sources {
    file: Option<Source>,
}

struct Source {
    path: PathBuf,
    text: String,
    /// Where each line begins and ends in the text.
    lines: Vec<(usize, usize)>,
    /// How many lines were walked through.
    walked: usize,
    /// The lines that the next one may stand below, outermost first.
    parents: Vec<usize>,
}

/// A line, and those that it stands below by their indentation, outermost first.
pub(super) struct Line<'s> {
    pub(super) text: &'s str,
    pub(super) parents: Vec<&'s str>,
}

impl Sources {
    /// A line of a file, from 1; `None` if there is no such line, or the file cannot be read again.
    pub(super) fn line(&mut self, path: &Path, number: usize) -> Option<Line<'_>> {
        if self.file.as_ref().is_none_or(|file| file.path != path) {
            self.file = None;
            // A settings file may have been a pipe: that is an error, and does not wait.
            let text = String::from_utf8_lossy(&files::read(path).ok()?).into_owned();
            self.file = Some(Source::new(path, text));
        }
        self.file.as_mut()?.line(number)
    }
}

impl Source {
    fn new(path: &Path, text: String) -> Self {
        let mut lines = Vec::new();
        let mut begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let bytes = text.as_bytes();
        let mut at = begin;
        // Like the parser: a line ends with \n, \r\n or \r.
        while at < bytes.len() {
            if matches!(bytes[at], b'\n' | b'\r') {
                lines.push((begin, at));
                if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
                    at += 1;
                }
                begin = at + 1;
            }
            at += 1;
        }
        if begin < bytes.len() {
            lines.push((begin, bytes.len()));
        }
        Self { path: path.to_owned(), text, lines, walked: 0, parents: Vec::new() }
    }

    fn text(&self, index: usize) -> &str {
        self.lines.get(index).and_then(|(begin, end)| self.text.get(*begin..*end)).unwrap_or_default()
    }

    fn line(&mut self, number: usize) -> Option<Line<'_>> {
        let index = number.checked_sub(1).filter(|index| *index < self.lines.len())?;
        if index < self.walked {
            self.walked = 0;
            self.parents.clear();
        }
        while self.walked < index {
            let line = self.walked;
            if !is_blank(self.text(line)) {
                self.leave(line);
                self.parents.push(line);
            }
            self.walked += 1;
        }
        let mut parents = self.parents.clone();
        parents.retain(|parent| is_below(self.text(index), self.text(*parent)));
        let parents = parents.into_iter().map(|parent| self.text(parent)).collect();
        Some(Line { text: self.text(index), parents })
    }

    /// Forgets the lines that this one does not stand below.
    fn leave(&mut self, line: usize) {
        while let Some(last) = self.parents.last()
            && !is_below(self.text(line), self.text(*last))
        {
            self.parents.pop();
        }
    }
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Whether a line stands below another one by its indentation. The items of a list may stand in the column of its key.
fn is_below(line: &str, parent: &str) -> bool {
    let (own, other) = (indentation(line), indentation(parent));
    own > other || (own == other && is_item(line) && !is_item(parent))
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line == "-" || line.starts_with("- ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_line_comes_with_those_that_it_stands_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let text =
            "\u{feff}rules:\r\n- name: a\r\n  # note\r\n  when:\r\n    x: 1\r\n\r\n  to: b\r\nagents: {}\r\n  odd\n";
        fs::write(&path, text).unwrap();
        let mut sources = Sources::default();
        for (number, line, parents) in [
            (1, "rules:", &[][..]),
            (2, "- name: a", &["rules:"]),
            (4, "  when:", &["rules:", "- name: a"]),
            (5, "    x: 1", &["rules:", "- name: a", "  when:"]),
            (7, "  to: b", &["rules:", "- name: a"]),
            (8, "agents: {}", &[]),
            (9, "  odd", &["agents: {}"]),
            // Back again.
            (2, "- name: a", &["rules:"]),
        ] {
            let found = sources.line(&path, number).unwrap();
            assert_eq!((found.text, &found.parents[..]), (line, parents), "line {number}");
        }
        assert!(sources.line(&path, 10).is_none());
        assert!(sources.line(&path, 0).is_none());
        assert!(sources.line(&folder.path().join("none.yaml"), 1).is_none());
        assert!(sources.line(folder.path(), 1).is_none());
    }

    #[test]
    fn a_file_that_is_not_utf_8_has_lines_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        assert_eq!(Sources::default().line(&path, 2).unwrap().text, "b: \u{fffd}");
    }
}
