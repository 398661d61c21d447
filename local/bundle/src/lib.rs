//! The whole bundle on one machine: the function libraries behind one listener, an embedded DynamoDB whose stream
//! drives `provision`, secrets and keys in files, and 360dialog simulated beside it. For development only.

pub mod settings;
pub mod data;
pub mod embedded;
pub mod secrets_file;
pub mod vault_file;
pub mod event_file;
pub mod jwt;
pub mod cors;
pub mod demo;
pub mod follower;
pub mod bundle;
pub mod cli;
