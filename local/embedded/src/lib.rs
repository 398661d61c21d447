//! The bundle's data on one machine: a directory with the embedded DynamoDB, and files for secrets and keys.

pub mod settings;
pub mod data;
pub mod database;
pub mod secrets_file;
pub mod key_file;
