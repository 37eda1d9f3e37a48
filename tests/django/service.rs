//! The Django service.

use std::process::{Command, Stdio};

use crate::program::Program;
use crate::support;
use crate::world::World;

/// A Python that has django-outbox-pattern; `None` where it is left out.
pub(crate) fn python() -> Option<String> {
    support::server("OUTBOX_TEST_DJANGO", "Django")
}

fn command(world: &World, python: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/django/project"))
        .env("DJANGO_SETTINGS_MODULE", "settings")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DATABASE_URL", &world.database.url)
        .env("STOMP_URL", &world.broker);
    command
}

/// Runs something of Django's to its end.
#[track_caller]
pub(crate) fn run(world: &World, python: &str, arguments: &[&str]) {
    let output = command(world, python, arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts something of Django's; what it writes to its standard error are its lines.
pub(crate) fn start(world: &World, python: &str, arguments: &[&str]) -> Program {
    Program::spawn(command(world, python, arguments).stdin(Stdio::piped()))
}

/// A world in which Django has made its tables.
pub(crate) fn world() -> Option<(World, String)> {
    let python = python()?;
    let world = World::bare()?;
    run(&world, &python, &["-m", "django", "migrate"]);
    Some((world, python))
}
