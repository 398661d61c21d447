//! The commands of an operator on a bundle, which is a stack on AWS or the data directory of one machine: `why`
//! explains the state of a channel, `key` prints its API key, `reseal` seals all keys anew, `queue` shows what waits, `list`
//! what an operator must decide, `confirm`, `move`, `refuse` and `reopen` decide it, `refold` has facts joined anew, `dead` shows
//! what was given up, and `connect` points 360dialog at the bundle.

mod reporter;
mod why;
mod queue;
mod list;
mod decision;
mod reopen;
mod refold;
mod dead;
mod instance;
mod reseal;
pub mod connect;
pub mod cli;

pub use dead::Retry;
pub use decision::DecisionError;
pub use instance::{Instance, MachineError, OperatorError, StackError};
pub use list::List;
