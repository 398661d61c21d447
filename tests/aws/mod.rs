//! AWS's own pieces around the programs that run there.

mod process;
pub mod runtime_api;
