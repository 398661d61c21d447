//! What a program needs to run: settings, HTTP, secrets, the event bus, metrics, AWS clients, the start on Lambda.
//!
//! Each module uses only those before it. What a function may do is the set of handles its struct holds.

pub mod settings;
pub mod clock;
pub mod token;
pub mod metric;
pub mod tls;
mod sdk_connector;
pub mod secrets;
pub mod vault;
pub mod event_bus;
pub mod http;
pub mod aws;
pub mod lambda;
