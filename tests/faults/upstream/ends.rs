//! The end of the gateway itself, and panics in it (rows B20 and B21).
