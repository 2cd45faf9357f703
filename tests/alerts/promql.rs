//! As much of PromQL as the alerts use, so that they are tried where Prometheus is not installed.
//!
//! Samples stand at whole minutes. An instant vector takes the last sample of five minutes, as Prometheus
//! does; a function over a range takes those of the range, its start left out.

use std::collections::{BTreeMap, BTreeSet};

/// What tells one series from another, the name left out.
pub type Labels = BTreeMap<String, String>;

/// Series by their name; a sample for each minute that has one.
#[derive(Default)]
pub struct Series(BTreeMap<String, Vec<(Labels, Vec<f64>)>>);

/// A vector, or a number.
enum Value {
    Vector(BTreeMap<Labels, f64>),
    Number(f64),
}

impl Series {
    /// One series: `name{label="value"}` and values such as `0x10 1+2x5 7`.
    pub fn add(&mut self, series: &str, values: &str) {
        let (name, labels) = selector(series);
        let mut samples = Vec::new();
        for word in values.split_whitespace() {
            let (what, times) = word.split_once('x').map_or((word, 0), |(what, times)| (what, count(times)));
            let sign = what[1..].find(['+', '-']).map(|at| at + 1);
            let (start, step) = sign.map_or((what, 0.0), |at| (&what[..at], number(&what[at..])));
            samples.extend((0..=times).map(|n| number(start) + step * f64::from(n)));
        }
        self.0.entry(name).or_default().push((labels, samples));
    }

    /// The label sets for which the expression holds at a minute.
    pub fn holds(&self, expression: &str, minute: i64) -> BTreeSet<Labels> {
        let mut parser = Parser { words: words(expression), at: 0, series: self, minute };
        let value = parser.sets();
        assert_eq!(
            parser.at,
            parser.words.len(),
            "`{expression}` was not understood after {:?}",
            &parser.words[..parser.at]
        );
        match value {
            Value::Vector(vector) => vector.into_keys().collect(),
            Value::Number(_) => panic!("`{expression}` is a number"),
        }
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn count(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no count"))
}

fn selector(text: &str) -> (String, Labels) {
    let (name, inside) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = inside.trim_end_matches('}').split(',').filter(|pair| !pair.trim().is_empty());
    let labels = pairs.map(|pair| {
        let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label: {pair}"));
        (label.trim().to_owned(), value.trim().trim_matches('"').to_owned())
    });
    (name.trim().to_owned(), labels.collect())
}

/// `a{b="c"}` stays one word; everything else is split at what is no part of a name.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut braces = false;
    let mut open = false;
    for c in text.chars() {
        braces = (braces || c == '{') && c != '}';
        let part = braces || c == '}' || c == '{' || c.is_alphanumeric() || matches!(c, '_' | '.' | ':');
        // `==`, and the next character of a name, go on with the word before.
        let joins = if part { open } else { c == '=' && words.last().is_some_and(|last| last == "=") };
        match words.last_mut().filter(|_| joins) {
            Some(word) => word.push(c),
            None if c.is_whitespace() => {}
            None => words.push(c.to_string()),
        }
        open = part;
    }
    words
}

fn minutes(text: &str) -> i64 {
    let (count, unit) = text.split_at(text.len() - 1);
    assert_eq!(unit, "m", "only minutes are known here");
    i64::from(self::count(count))
}

struct Parser<'a> {
    words: Vec<String>,
    at: usize,
    series: &'a Series,
    minute: i64,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.words.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.words.get(self.at - 1).cloned().unwrap_or_default()
    }

    fn expect(&mut self, word: &str) {
        let found = self.next();
        assert_eq!(found, word, "at word {} of {:?}", self.at, self.words);
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        self.at += usize::from(found);
        found
    }

    /// `and` and `unless`, from the left.
    fn sets(&mut self) -> Value {
        let mut left = self.comparison();
        loop {
            let keep = match self.peek() {
                "and" => true,
                "unless" => false,
                _ => return left,
            };
            self.at += 1;
            let on = self.takes("on").then(|| self.names());
            let key = |labels: &Labels| -> Labels {
                let on = on.as_ref();
                labels.clone().into_iter().filter(|(name, _)| on.is_none_or(|on| on.contains(name))).collect()
            };
            let (Value::Vector(mut vector), Value::Vector(right)) = (left, self.comparison()) else {
                panic!("`and` and `unless` stand between vectors");
            };
            let right: BTreeSet<Labels> = right.keys().map(key).collect();
            vector.retain(|labels, _| right.contains(&key(labels)) == keep);
            left = Value::Vector(vector);
        }
    }

    fn comparison(&mut self) -> Value {
        let left = self.primary();
        let holds: fn(f64, f64) -> bool = match self.peek() {
            ">" => |a, b| a > b,
            "<" => |a, b| a < b,
            "==" => |a, b| (a - b).abs() < f64::EPSILON,
            _ => return left,
        };
        self.at += 1;
        match (left, self.primary()) {
            (Value::Vector(mut left), Value::Number(right)) => {
                left.retain(|_, value| holds(*value, right));
                Value::Vector(left)
            }
            (Value::Vector(mut left), Value::Vector(right)) => {
                left.retain(|labels, value| right.get(labels).is_some_and(|right| holds(*value, *right)));
                Value::Vector(left)
            }
            _ => panic!("a comparison begins with a vector"),
        }
    }

    /// `(a, b)`.
    fn names(&mut self) -> BTreeSet<String> {
        self.expect("(");
        let mut names = BTreeSet::new();
        while !self.takes(")") {
            names.insert(self.next());
            self.takes(",");
        }
        names
    }

    fn primary(&mut self) -> Value {
        let word = self.next();
        match word.as_str() {
            "(" => {
                let inside = self.sets();
                self.expect(")");
                inside
            }
            "sum" => {
                self.expect("by");
                let by = self.names();
                self.expect("(");
                let Value::Vector(vector) = self.sets() else { panic!("`sum` takes a vector") };
                self.expect(")");
                let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
                for (mut labels, value) in vector {
                    labels.retain(|name, _| by.contains(name));
                    *sums.entry(labels).or_default() += value;
                }
                Value::Vector(sums)
            }
            "increase" => self.over_range(|samples| {
                let steps = samples.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] });
                (samples.len() > 1).then(|| steps.sum())
            }),
            "min_over_time" => self.over_range(|samples| samples.iter().copied().reduce(f64::min)),
            "max_over_time" => self.over_range(|samples| samples.iter().copied().reduce(f64::max)),
            number if number.parse::<f64>().is_ok() => Value::Number(number.parse().unwrap_or_default()),
            _ => {
                let (name, wanted) = selector(&word);
                self.select(&name, &wanted, self.minute, 5, |samples| samples.last().copied())
            }
        }
    }

    /// `(metric[5m])` or `(metric[5m] offset 10m)`.
    fn over_range(&mut self, of: impl Fn(&[f64]) -> Option<f64>) -> Value {
        self.expect("(");
        let (name, wanted) = selector(&self.next());
        self.expect("[");
        let range = minutes(&self.next());
        self.expect("]");
        let offset = if self.takes("offset") { minutes(&self.next()) } else { 0 };
        self.expect(")");
        self.select(&name, &wanted, self.minute - offset, range, of)
    }

    fn select(
        &self,
        name: &str,
        wanted: &Labels,
        minute: i64,
        range: i64,
        of: impl Fn(&[f64]) -> Option<f64>,
    ) -> Value {
        let series = self.series.0.get(name).into_iter().flatten();
        let matching = series.filter(|(labels, _)| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)));
        let vector = matching.filter_map(|(labels, samples)| {
            let in_range = |at: usize| i64::try_from(at).is_ok_and(|at| at > minute - range && at <= minute);
            let found: Vec<f64> =
                samples.iter().enumerate().filter(|(at, _)| in_range(*at)).map(|(_, sample)| *sample).collect();
            Some((labels.clone(), of(&found)?))
        });
        Value::Vector(vector.collect())
    }
}
