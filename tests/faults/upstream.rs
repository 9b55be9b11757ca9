//! Providers and streams (rows B).
