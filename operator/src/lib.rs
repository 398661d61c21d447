//! What a person on duty does with a bundle: on one machine beside the running bundle, through the address in
//! `DATA/endpoint`, and without one by opening the file; and `connect`, which points 360dialog at a bundle there or
//! on AWS.

mod place;
mod why;
pub mod connect;
pub mod cli;

pub use place::{OperatorError, Place};
