//! What a person on duty does with a bundle on one machine: it works beside the running bundle, through the
//! address in `DATA/endpoint`, and without one by opening the file.

mod place;
mod why;

pub use place::{OperatorError, Place};
