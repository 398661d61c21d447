//! What only AWS's own pieces show: calls counted and made to fail, events to the letter, kills at any moment.

mod calls;
mod faults;
mod payload;
