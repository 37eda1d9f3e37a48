//! A loopback broker for tests.
