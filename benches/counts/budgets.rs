//! The budgets: how many instructions a step takes, and how many more it may.

use std::{collections::BTreeMap, fmt::Write as _, fs};

/// The file, from the root of the repository.
pub(crate) const FILE: &str = "benches/counts/budgets.txt";

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts/budgets.txt");
const HEAD: &str = "# Instructions of one execution of each step, and by how many percent they may grow: `make counts` holds them, and\n\
                    # `make counts-update` writes what it finds.\n";
const COMPILER: &str = "# Counted with ";

/// How much more a step may take that is new, in percent.
const TOLERANCE: u64 = 10;

/// The budget of one step.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    name: String,
    pub(crate) instructions: u64,
    tolerance: u64,
}

impl Budget {
    /// How much more than the budget that is, in percent.
    pub(crate) fn change(&self, found: u64) -> f64 {
        (found as f64 / self.instructions as f64 - 1.0) * 100.0
    }

    /// What to say when that is too much.
    pub(crate) fn exceeded_by(&self, found: u64) -> Option<String> {
        let most = self.instructions + self.instructions * self.tolerance / 100;
        (found > most).then(|| {
            format!(
                "`{}`: expected {} instructions, at most {} % more, found {found}: {:.1} % more",
                self.name,
                self.instructions,
                self.tolerance,
                self.change(found)
            )
        })
    }
}

/// The budgets of all steps.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// What `rustc --version` printed when they were counted.
    pub(crate) compiler: String,
    steps: BTreeMap<String, Budget>,
}

impl Budgets {
    /// Reads the file: a name, a number and a percentage in each line.
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{FILE}: {error}"))?;
        let mut budgets = Self { compiler: String::new(), steps: BTreeMap::new() };
        for (number, line) in text.lines().enumerate() {
            if let Some(compiler) = line.strip_prefix(COMPILER) {
                compiler.clone_into(&mut budgets.compiler);
            } else if !line.starts_with('#') {
                let budget = parse(line).ok_or_else(|| {
                    format!("{FILE}:{}: expected a name, a count above 0 and a percentage, found `{line}`", number + 1)
                })?;
                budgets.steps.insert(budget.name.clone(), budget);
            }
        }
        Ok(budgets)
    }

    pub(crate) fn of(&self, step: &str) -> Result<&Budget, String> {
        self.steps.get(step).ok_or_else(|| format!("{FILE} has no budget of `{step}`: `make counts-update` adds it"))
    }

    /// Another count of a step, with the tolerance that it has.
    pub(crate) fn set(&mut self, step: &str, instructions: u64) {
        let new = Budget { name: step.to_owned(), instructions, tolerance: TOLERANCE };
        self.steps.entry(step.to_owned()).or_insert(new).instructions = instructions;
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        let mut text = format!("{HEAD}{COMPILER}{}\n", self.compiler);
        for budget in self.steps.values() {
            let Budget { name, instructions, tolerance } = budget;
            let _ = writeln!(text, "{name:<12} {instructions:>10} {tolerance:>4} %");
        }
        fs::write(PATH, text).map_err(|error| format!("{FILE}: {error}"))
    }
}

fn parse(line: &str) -> Option<Budget> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, instructions, tolerance, "%"] = words[..] else { return None };
    let instructions = instructions.parse().ok().filter(|count| *count > 0)?;
    Some(Budget { name: name.to_owned(), instructions, tolerance: tolerance.parse().ok()? })
}
