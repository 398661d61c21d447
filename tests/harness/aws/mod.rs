//! AWS's own pieces around the programs that run there: the Lambda Runtime API and the gateway are played by this
//! process, DynamoDB Local and moto answer for the services, and between them and the functions stands a recorder that
//! can make any call go wrong.

pub mod calls;
mod clock;
mod empty_maps;
pub mod event;
mod forward;
mod gateway;
mod lag;
pub mod metrics;
pub mod moto;
mod process;
pub mod rights;
pub mod runtime_api;
pub mod servers;
pub mod stack;
mod stream;
