//! Where the bundles of a run run.

/// The environment variable that chooses.
const BACKEND: &str = "BACKEND";

/// Where bundles run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `one_machine`, the default: the program `local`.
    OneMachine,
    /// `aws`: the functions' own programs on AWS's own pieces (see [`crate::aws`]).
    Aws,
}

impl Backend {
    /// That of this run.
    pub fn of_this_run() -> Self {
        match std::env::var(BACKEND).as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("one_machine") => Self::OneMachine,
            Ok("aws") => Self::Aws,
            other => panic!("{BACKEND} is one_machine or aws, and not {other:?}"),
        }
    }

    /// Fails a test that is run on another backend than its own.
    pub fn is_needed(self) {
        let wrong = "this test is run on the wrong backend: see BACKEND";
        assert_eq!(Self::of_this_run(), self, "{wrong}");
    }
}

/// Whether the bundles of this run are AWS's own pieces.
pub fn is_on_aws() -> bool {
    Backend::of_this_run() == Backend::Aws
}
