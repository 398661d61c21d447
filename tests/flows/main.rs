//! Flows through the whole bundle, as processes of its own, over HTTP; and what is asserted of the repository itself.
//!
//! `BACKEND` says where the bundles run: `one_machine` (the default) or `aws`.

mod everywhere;
mod on_aws;
mod one_machine;

mod layers;
mod template;
