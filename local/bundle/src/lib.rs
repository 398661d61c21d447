//! The whole bundle on one machine: the HTTP functions behind one listener, an embedded DynamoDB whose stream drives
//! `fold` and `provision`, secrets and keys in files, and the simulator. For development only.

pub mod settings;
mod workers;
pub mod event_file;
pub mod jwt;
pub mod cors;
pub mod demo;
pub mod follower;
pub mod bundle;
mod log;
pub mod cli;
