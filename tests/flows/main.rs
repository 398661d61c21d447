//! Flows through the whole bundle, as a process of its own, over HTTP.

mod onboarding;
