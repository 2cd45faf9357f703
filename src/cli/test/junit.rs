//! The results in the format of JUnit, which CI servers show: a suite for each file.

use std::{fmt::Write as _, time::Duration};

use super::{
    lines::lines,
    report::{Report, Tested},
};
use crate::yaml::visible;

pub(super) fn junit(report: &Report) -> String {
    let suites: Vec<&[Tested]> = report.tested.chunk_by(|a, b| a.case.file == b.case.file).collect();
    let (all, failed) = (report.tested.len(), report.failed());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ =
        writeln!(text, "<testsuites name=\"workflow-bridge test\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">");
    for suite in suites {
        write_suite(&mut text, suite);
    }
    text.push_str("</testsuites>\n");
    text
}

fn write_suite(text: &mut String, suite: &[Tested]) {
    let Some(first) = suite.first() else { return };
    let file = escaped(&first.case.file.to_string_lossy());
    let failed = suite.iter().filter(|tested| !tested.failures.is_empty()).count();
    let time = seconds(suite.iter().map(|tested| tested.took).sum());
    let all = suite.len();
    let _ = writeln!(
        text,
        "  <testsuite name=\"{file}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{time}\">"
    );
    for tested in suite {
        let (name, time) = (escaped(&tested.case.name), seconds(tested.took));
        let line = tested.case.at.map(|at| format!(" line=\"{}\"", at.line)).unwrap_or_default();
        let _ =
            write!(text, "    <testcase classname=\"{file}\" name=\"{name}\" file=\"{file}\"{line} time=\"{time}\"");
        if tested.failures.is_empty() {
            text.push_str("/>\n");
            continue;
        }
        let lines: Vec<String> = tested.failures.iter().flat_map(lines).map(|line| escaped(&line)).collect();
        let first = lines.first().map(String::as_str).unwrap_or_default();
        let _ = writeln!(text, ">\n      <failure message=\"{first}\">{}</failure>\n    </testcase>", lines.join("\n"));
    }
    text.push_str("  </testsuite>\n");
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// A text in XML. What XML cannot have, and what a terminal hides, is written as an escape.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_xml_cannot_have_is_left() {
        assert_eq!(
            escaped("<a b=\"c\">'&'\u{0}\u{b}\u{ffff}"),
            "&lt;a b=&quot;c&quot;&gt;&apos;&amp;&apos;\\u{0}\\u{b}\u{fffd}"
        );
    }
}
