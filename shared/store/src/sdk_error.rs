//! The failure of an AWS call as a text for the log: never the message itself, which may hold a name or a value.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// The kind of the failure, or the service's own error code.
pub fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> &str {
    match error {
        SdkError::ConstructionFailure(_) => "the request could not be built",
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(_) => "not reached",
        SdkError::ResponseError(_) => "the answer could not be read",
        _ => error.code().unwrap_or("an unknown error"),
    }
}
