//! Words: the values that every floor may use. No I/O, no async, no policy.

pub mod attribution;
pub mod by_key;
pub mod clock;
pub mod content;
pub mod model;
pub mod money;
pub mod price;
pub mod standing;
pub mod tenant;
pub mod usage;
pub mod window;
