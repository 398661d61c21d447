//! The order of a partner's work: what is due, who pays how much for it, how many calls 360dialog takes, and when it is left
//! alone. Values only: no I/O, and the time is an argument.
//!
//! 360dialog takes few calls of a partner, all of them together, so calls are what tenants share: start-time fair
//! queueing gives each tenant with work an equal part of them. A place in the line is counted in calls.
//! Source: <https://doi.org/10.1145/248157.248171>, "Start-time Fair Queueing".

mod circuit;
mod due;
mod rate;
mod work;

pub use circuit::{Circuit, Heard, Stop};
pub use due::{Due, Entry, Lane, TAKEN_FOR, Task};
pub use rate::{Rate, RateError};
pub use work::{Next, Place, Work};
