//! The commands of an operator on a bundle, which is a stack on AWS or the data directory of one machine: `why`
//! explains the state of a channel, `key` prints its API key, and `connect` points 360dialog at the bundle.

mod reporter;
mod why;
mod instance;
pub mod connect;
pub mod cli;

pub use instance::{Instance, MachineError, OperatorError, StackError};
