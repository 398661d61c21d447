//! 360dialog, simulated.
//!
//! It simulates 360dialog on one machine: the onboarding pages that a client clicks through, the signed
//! webhooks that follow, and the part of the Partner API that partners use in production. Controls make it
//! misbehave in the ways in which 360dialog was seen to misbehave, and in worse ones. It shares no code with
//! the software that is tested against it, so that a wrong signature made there does not verify here.
//!
//! Deliberately absent: the sending and receiving of messages, billing, and any misbehaviour that no control asked for.

mod rate;
mod settings;

mod id;
mod addresses;
mod signature;
mod merge_patch;
mod channel;
mod template;
mod bulk_lists;
mod state;
mod store;

mod call_log;
mod calls;
mod fault;
mod faults;
mod reordering;

mod simulator;
mod stages;
mod cancellations;
mod webhooks;
mod history;

mod onboarding;
mod completion;

mod controls;
mod messaging;
mod pages;
mod partner_api;
mod same_machine;

mod server;

pub use rate::{MalformedRate, Rate};
pub use server::{RunningSimulator, StartError};
pub use settings::{Access, Billing, Partner, SecretsError, Settings};
