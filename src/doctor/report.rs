//! The result of all checks.

use serde::Serialize;

use super::check::{Check, Verdict};

/// The result of all checks, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    checks: Vec<Check>,
}

/// The form of a report in JSON: `docs/doctor.md` describes it.
#[derive(Serialize)]
struct Document<'a> {
    verdict: Verdict,
    errors: usize,
    warnings: usize,
    checks: &'a [Check],
}

impl Report {
    pub(super) fn push(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The worst verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.checks.iter().map(|check| check.verdict);
        verdicts.max().unwrap_or(Verdict::Ok)
    }

    /// The number of checks with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let mut count = 0;
        for check in &self.checks {
            count += usize::from(check.verdict == verdict);
        }
        count
    }

    /// The report as a JSON document.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let document = Document {
            verdict: self.verdict(),
            errors: self.count(Verdict::Error),
            warnings: self.count(Verdict::Warning),
            checks: &self.checks,
        };
        serde_json::to_value(document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form that docs/doctor.md describes.
    #[test]
    fn a_report_has_one_form_in_json() {
        let mut report = Report::default();
        assert_eq!(report.verdict(), Verdict::Ok);
        report.push(Check::ok("database.clock", "0.001 s"));
        report.push(Check::warning("queue", "is not there", "start it").about("billing"));
        assert_eq!(
            report.to_json(),
            serde_json::json!({
                "verdict": "warning",
                "errors": 0,
                "warnings": 1,
                "checks": [
                    {"check": "database.clock", "subject": null, "verdict": "ok",
                     "text": "0.001 s", "advice": null},
                    {"check": "queue", "subject": "billing", "verdict": "warning",
                     "text": "is not there", "advice": "start it"},
                ],
            })
        );
        report.push(Check::error("database.connection", "refused", "start it"));
        assert_eq!(report.verdict(), Verdict::Error);
        assert_eq!(report.count(Verdict::Error), 1);
    }
}
