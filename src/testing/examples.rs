//! The fenced blocks of the documents, for the tests that try them.

use std::{fs, path::Path};

/// The fenced blocks of a page: language, text, and the text of a `text` block right after it.
pub(crate) fn blocks(page: &str) -> Vec<(&str, String, Option<String>)> {
    let mut blocks: Vec<(&str, String, Option<String>)> = Vec::new();
    let mut open: Option<(&str, String)> = None;
    let mut after_block = false;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language, String::new())),
            (None, None) => after_block = false,
            (Some(_), Some(_)) => {
                let (language, text) = open.take().unwrap();
                match blocks.last_mut() {
                    Some(last) if language == "text" && after_block => last.2 = Some(text),
                    _ => blocks.push((language, text, None)),
                }
                after_block = true;
            }
            (Some((_, text)), None) => text.extend([line, "\n"]),
        }
    }
    blocks
}

/// A block of YAML in a document.
pub(crate) struct Example {
    pub(crate) page: String,
    pub(crate) text: String,
    /// Whether the page says what is wrong with it.
    pub(crate) is_wrong: bool,
}

/// Every block of YAML in the README and in docs/.
pub(crate) fn yaml_examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let mut examples = Vec::new();
    for path in pages {
        let page = fs::read_to_string(&path).unwrap();
        for (_, text, problems) in blocks(&page).into_iter().filter(|(language, ..)| *language == "yaml") {
            examples.push(Example { page: path.display().to_string(), text, is_wrong: problems.is_some() });
        }
    }
    examples
}
