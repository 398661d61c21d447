//! The flows once more, on AWS's own pieces, and what can only be seen there.

mod calls;
mod payload;

#[path = "../flows/doors.rs"]
mod doors;
#[path = "../flows/events.rs"]
mod events;
#[path = "../flows/gateway.rs"]
mod gateway;
#[path = "../flows/hub_answers.rs"]
mod hub_answers;
#[path = "../flows/in_between.rs"]
mod in_between;
#[path = "../flows/lifecycle.rs"]
mod lifecycle;
#[path = "../flows/misuse.rs"]
mod misuse;
#[path = "../flows/onboarding.rs"]
mod onboarding;
#[path = "../flows/redirect.rs"]
mod redirect;
#[path = "../flows/restart.rs"]
mod restart;
#[path = "../flows/secrets/mod.rs"]
mod secrets;
#[path = "../flows/sign_flood.rs"]
mod sign_flood;
#[path = "../flows/stand_in.rs"]
mod stand_in;
#[path = "../flows/store/mod.rs"]
mod store;
