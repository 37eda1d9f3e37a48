//! The figures of a run and their goals.

use serde_json::{Value, json};

/// The goal of a figure.
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// No goal: other figures are compared with it.
    None,
}

/// The figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(String, String, f64, Goal)>,
}

impl Report {
    /// Adds a row. `absolute` is the value on this machine; `figure` is compared with the goal.
    pub(crate) fn add(&mut self, what: &str, absolute: String, figure: f64, goal: Goal) {
        eprintln!("{what}: {absolute}, {figure:.2}");
        self.rows.push((what.to_owned(), absolute, figure, goal));
    }

    pub(crate) fn print(&self) {
        println!("| what | measured | figure | goal | |");
        println!("| --- | --- | --- | --- | --- |");
        for (what, absolute, figure, goal) in &self.rows {
            let (text, is_reached) = goal.look(*figure);
            println!("| {what} | {absolute} | {figure:.2} | {text} | {is_reached} |");
        }
    }

    pub(crate) fn write(&self, path: &str) {
        let rows = self.rows.iter().map(|(what, absolute, figure, goal)| {
            let (goal, is_reached) = goal.look(*figure);
            json!({"what": what, "measured": absolute, "figure": figure, "goal": goal,
                "reached": is_reached})
        });
        let text = serde_json::to_string_pretty(&rows.collect::<Vec<Value>>()).unwrap();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::write(path, text + "\n").unwrap();
    }
}

impl Goal {
    fn look(&self, figure: f64) -> (String, &'static str) {
        let word = |is_reached| if is_reached { "reached" } else { "missed" };
        match self {
            Self::AtLeast(goal) => (format!("at least {goal}"), word(figure >= *goal)),
            Self::AtMost(goal) => (format!("at most {goal}"), word(figure <= *goal)),
            Self::None => (String::new(), ""),
        }
    }
}
