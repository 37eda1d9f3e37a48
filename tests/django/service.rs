//! The Django service.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::Program;
use crate::support;
use crate::world::World;

/// The folder of the service with django-outbox-pattern.
const PROJECT: &str = "project";

/// A Python that has django-outbox-pattern; `None` where it is left out.
pub(crate) fn python() -> Option<String> {
    support::server("OUTBOX_TEST_DJANGO", "Django")
}

fn command(project: &str, world: &World, python: &str, arguments: &[&str]) -> Command {
    let projects = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/django");
    let mut command = Command::new(python);
    command
        .args(arguments)
        .current_dir(Path::new(projects).join(project))
        .env("DJANGO_SETTINGS_MODULE", "settings")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DATABASE_URL", &world.database.url)
        .env("STOMP_URL", &world.broker);
    command
}

/// Runs something of Django's to its end.
#[track_caller]
pub(crate) fn run(world: &World, python: &str, arguments: &[&str]) {
    run_in(PROJECT, world, python, arguments);
}

/// The same in a folder of `tests/django`.
#[track_caller]
pub(crate) fn run_in(project: &str, world: &World, python: &str, arguments: &[&str]) {
    let output = command(project, world, python, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts something of Django's; what it writes to its standard error are its lines.
pub(crate) fn start(world: &World, python: &str, arguments: &[&str]) -> Program {
    Program::spawn(command(PROJECT, world, python, arguments).stdin(Stdio::piped()))
}

/// A world in which Django has made its tables.
pub(crate) fn world() -> Option<(World, String)> {
    let python = python()?;
    let world = World::bare()?;
    run(&world, &python, &["-m", "django", "migrate"]);
    Some((world, python))
}
