//! What is left of a promise when AWS, or the function itself, fails at the worst moment.

mod http_functions;
mod fold;
mod isolation;
mod provision;
mod worker;
