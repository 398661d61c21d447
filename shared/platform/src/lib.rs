//! Everything that touches the outside: settings, the clock, DynamoDB, secrets, the Partner API, HTTP.
//!
//! Each module uses only those before it. What a function may do is the set of handles its struct holds.

pub mod settings;
pub mod clock;
pub mod token;
pub mod metric;
pub mod tls;
mod sdk_connector;
mod sdk_error;
pub mod table;
pub mod store;
pub mod stream;
pub mod secrets;
pub mod vault;
pub mod hub_api;
pub mod event_bus;
pub mod http;
pub mod aws;
pub mod lambda;
