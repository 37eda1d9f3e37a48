//! What executions of calls have done, in a file to which all executors append.
//!
//! A line survives the death of its process, and the lines are in the order of their writing: open(2), `O_APPEND`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A step of an execution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Start,
    /// The function is about to return Ok.
    Done,
    /// The function is about to fail, by its own fault.
    Failed,
}

/// The end of the file that an executor writes to.
pub(crate) struct Pen(File);

impl Pen {
    pub(crate) fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.unwrap())
    }

    pub(crate) fn write(&self, step: Step, id: Uuid) {
        let word = match step {
            Step::Start => "start",
            Step::Done => "done",
            Step::Failed => "failed",
        };
        // One call of write(2), so that lines do not mix.
        let line = format!("{word} {id}\n");
        (&self.0).write_all(line.as_bytes()).unwrap();
    }
}

/// A file of its own folder, which is removed with this value.
pub(crate) struct Journal {
    folder: tempfile::TempDir,
}

/// The steps of one call, by their places among all steps.
#[derive(Default, Debug)]
pub(crate) struct Steps {
    pub(crate) starts: Vec<usize>,
    pub(crate) done: Vec<usize>,
    pub(crate) failed: usize,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// The steps of each call.
    pub(crate) fn read(&self) -> HashMap<String, Steps> {
        let text = std::fs::read_to_string(self.path()).unwrap();
        let mut calls: HashMap<String, Steps> = HashMap::new();
        for (place, line) in text.lines().enumerate() {
            let (word, id) = line.split_once(' ').unwrap();
            let steps = calls.entry(id.to_owned()).or_default();
            match word {
                "start" => steps.starts.push(place),
                "done" => steps.done.push(place),
                "failed" => steps.failed += 1,
                other => panic!("{other}"),
            }
        }
        calls
    }
}
