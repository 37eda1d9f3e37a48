//! The tables `published` and `received`.
