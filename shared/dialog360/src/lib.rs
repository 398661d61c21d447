#![doc = include_str!("../README.md")]

pub mod id;
pub mod secret;
mod hmac;
pub mod io_signature;
pub mod webhook;
mod description;
pub mod event;
pub mod channel;
pub mod redirect;
pub mod credentials;
#[cfg(feature = "client")]
pub mod client;

pub use description::{Description, Field};
