//! The domain of 360dialog's Integrated Onboarding, pure: no I/O, no clock, no async.
//!
//! Each module uses only those before it. Whatever depends on the time takes `now` as an argument.

pub mod id;
pub mod secret;
pub mod origin;
pub mod signature;
pub mod session;
pub mod redirect;
pub mod hub_event;
pub mod fact;
pub mod channel;
pub mod claim;
pub mod problem;
