//! Large rows, and the memory of the program that sends them.

use diesel::connection::SimpleConnection;

use super::World;
use super::program::{Program, wait_until};

const ROWS: i64 = 200;
const MEBIBYTE: u64 = 1 << 20;

/// The peak memory of the process, in bytes.
fn peak(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let bytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() * 1024
    };
    // Without the pages of the program's file, of which a debug build has many.
    bytes("VmHWM:") - bytes("RssFile:")
}

/// Writes rows of about a megabyte, generated in the database.
fn write(world: &World, text: &str) {
    world
        .connect()
        .batch_execute(&format!(
            "insert into published (id, destination, body)
             select gen_random_uuid(), '{}', to_jsonb({text}) from generate_series(1, {ROWS}) n",
            world.topic()
        ))
        .unwrap();
}

/// The setting `memory_limit` is 16 MiB by default; the program itself, its connections and their
/// buffers take less than 16.
#[test]
fn large_rows_take_no_more_memory_than_is_set() {
    let Some(world) = World::new() else { return };
    // What the database can store in a hundredth of the space, and what it cannot.
    write(&world, "repeat('x', 1000000)");
    write(
        &world,
        "(select string_agg(md5(n::text || i), '') from generate_series(1, 31250) i)",
    );
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &[]);
    wait_until("all is sent", || world.counts().sent == 2 * ROWS);
    let peak = peak(&relay);
    relay.signal("TERM");
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    assert!(peak <= 32 * MEBIBYTE, "{} MiB", peak / MEBIBYTE);
}

/// A row that is larger than the whole limit is sent alone.
#[test]
fn a_row_larger_than_the_memory_is_sent() {
    let Some(world) = World::new() else { return };
    world
        .connect()
        .batch_execute(&format!(
            "insert into published (id, destination, body)
             select gen_random_uuid(), '{}', to_jsonb(repeat('x', n * 30000))
             from generate_series(1, 30) n",
            world.topic()
        ))
        .unwrap();
    let arguments = ["--memory-limit", "262144", "--once"];
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &arguments);
    assert!(relay.ended().success(), "{:#?}", relay.lines());
    assert_eq!(world.counts().sent, 30);
}
