//! Flows through the whole bundle, as a process of its own, over HTTP.

mod connect;
mod demo;
mod demo_secrets;
mod doors;
mod events;
mod gateway;
mod hub_answers;
mod in_between;
mod lifecycle;
mod misuse;
mod onboarding;
mod operator;
mod readme;
mod redirect;
mod restart;
mod secrets;
mod settings;
mod sign_flood;
mod stand_in;
mod starts;
mod store;
mod template;
mod workspace;
