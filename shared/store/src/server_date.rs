//! The time that DynamoDB says in its answers.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use dialog360::id::PartnerId;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::table::{self, ALONE, PK, SK, StoreError, Table};
use crate::text;

impl Table {
    /// The `Date` of DynamoDB's answer to a read of the partner's WORK item, whole seconds; `None` if it has none that can
    /// be read. For operators, never for a function.
    pub async fn server_date(&self, partner: &PartnerId) -> Result<Option<Timestamp>, StoreError> {
        let date = DateOfAnswer::default();
        let read = self.client.get_item().table_name(&*self.name);
        let read = read
            .key(PK, text(table::work(partner)))
            .key(SK, text(ALONE));
        read.customize().interceptor(date.clone()).send().await?;
        Ok(date.read())
    }
}

/// The `Date` of the last answer to one request.
#[derive(Clone, Debug, Default)]
struct DateOfAnswer(Arc<Mutex<Option<Timestamp>>>);

impl DateOfAnswer {
    fn read(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, date: Option<Timestamp>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
    }
}

impl Intercept for DateOfAnswer {
    fn name(&self) -> &'static str {
        "DateOfAnswer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.write(context.response().headers().get("date").and_then(parse));
        Ok(())
    }
}

fn parse(date: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_http_writes_it_and_nothing_else_is_one() {
        let date = parse("Thu, 09 Apr 2026 13:09:08 GMT");
        assert_eq!(date, "2026-04-09T13:09:08Z".parse().ok());
        for other in ["", "soon", "1775740148", "Fri, 09 Apr 2026 13:09:08 GMT"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
