//! A message template of a WhatsApp Business Account.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::channel::rfc3339;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) external_id: String,
    pub(crate) waba_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) modified_at: Timestamp,
    #[serde(flatten)]
    pub(crate) content: Content,
}

/// The part that the partner writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) name: String,
    pub(crate) language: String,
    category: String,
    pub(crate) components: Vec<Value>,
}

impl Template {
    /// The answer to its submission.
    pub(crate) fn submitted(&self) -> Value {
        json!({
            "id": self.id,
            "external_id": self.external_id,
            "name": self.content.name,
            "language": self.content.language,
            "category": self.content.category,
            "components": self.content.components,
            "namespace": self.namespace(),
            "rejected_reason": null,
            "status": "submitted",
        })
    }

    /// The template as it is listed: approved.
    pub(crate) fn view(&self, partner: &str) -> Value {
        json!({
            "id": self.id,
            "external_id": self.external_id,
            "name": self.content.name,
            "language": self.content.language,
            "category": self.content.category,
            "components": self.content.components,
            "namespace": self.namespace(),
            "rejected_reason": "NONE",
            "status": "approved",
            "quality_score": null,
            "created_at": rfc3339(self.created_at),
            "modified_at": rfc3339(self.modified_at),
            "partner_id": partner,
            "waba_account_id": self.waba_id,
        })
    }

    fn namespace(&self) -> String {
        format!("namespace_{}", self.waba_id)
    }
}
