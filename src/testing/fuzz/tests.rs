use std::{
    fs,
    path::{Path, PathBuf},
};

use super::TARGETS;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(kind).join(target)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_the_corpus_and_every_former_finding_passes_its_target() {
    for (name, target) in TARGETS {
        let corpus = files(&folder("corpus", name));
        assert!(!corpus.is_empty(), "expected inputs in tests/fuzz/corpus/{name}, found none");
        for file in corpus.into_iter().chain(files(&folder("regressions", name))) {
            // The last line that a failed test prints is the input at fault.
            println!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for kind in ["corpus", "regressions"] {
        for path in files(&folder(kind, "")) {
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(
                TARGETS.iter().any(|(target, _)| *target == name),
                "no target has the inputs in {}",
                path.display()
            );
        }
    }
}
