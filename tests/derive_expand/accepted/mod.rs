//! What the derive accepts: compiled here with everything else. The mistakes are in `tests/ui`. On SQLite; the
//! code for the other databases is the same.
#![allow(dead_code, unreachable_pub, missing_debug_implementations)]

mod columns;
mod generics;
mod one_backend;
mod order;
mod surroundings;
