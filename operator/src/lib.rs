//! What a person on duty does with a bundle, be it a stack on AWS or the data directory of one machine: why a channel is
//! as it is, its API key, and `connect`, which points 360dialog at the bundle.

mod reporter;
mod why;
mod instance;
pub mod connect;
pub mod cli;

pub use instance::{Instance, MachineError, OperatorError, StackError};
