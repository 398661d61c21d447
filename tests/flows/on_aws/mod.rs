//! What only AWS's own pieces show: calls counted and made to fail, events to the letter, kills at any moment.
//!
//! Every test of these asks its bundle for [`tests::Bundle::aws`], which fails on another backend.

mod alarms;
mod calls;
mod connect;
mod faults;
mod lost;
mod payload;
mod readme;
mod soak;
