//! The runtime of all programs: settings, HTTP, secrets, the event bus, metrics, AWS clients, the start on Lambda.
//!
//! Each module uses only the modules before it. A function can do only what the handles in its struct allow.

pub mod settings;
pub mod clock;
pub mod token;
pub mod metric;
pub mod tls;
mod sdk_connector;
pub mod secrets;
pub mod seal;
pub mod event_bus;
pub mod http;
pub mod aws;
pub mod lambda;
