//! The domain of 360dialog's Integrated Onboarding, pure: no I/O, no clock, no async, no HTTP.
//!
//! Each module uses only those before it. Whatever depends on the time takes `now` as an argument.

pub mod tenant;
pub mod secret;
pub mod origin;
pub mod session;
pub mod fact;
pub mod channel;
pub mod claim;
pub mod intent;
pub mod messaging;
pub mod judgement;
pub mod claimed;
pub mod queue;
