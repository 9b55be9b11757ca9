//! The `plimsoll` binary: nothing but the door.

fn main() {}
