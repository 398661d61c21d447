//! The chats and contacts of a number that stays in the WhatsApp Business app, made up.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{channel::Channel, id, settings::Partner, state::Delivery};

/// The contacts of a number, and its chats.
const CONTACTS: usize = 20;
/// How far back the chats go.
const SECONDS: i64 = 180 * 24 * 60 * 60;
const TEXTS: [&str; 5] = [
    "Hello! Is the shop open on Saturday?",
    "Yes, from nine to one. Can we help you with anything else?",
    "I would like to change my appointment to the same time next week, please.",
    "Of course. You will get a message the day before.",
    "Thank you, that is very kind \u{1f44d}",
];

/// The size of a history.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) bodies: usize,
    /// The least number of bytes in each body.
    pub(crate) bytes: usize,
}

impl Size {
    /// The history that follows an onboarding.
    pub(crate) const USUAL: Self = Self {
        bodies: 3,
        bytes: 300_000,
    };
}

/// The webhook with the contacts of a channel.
pub(crate) fn contacts(partner: &Partner, channel: &Channel, now: Timestamp) -> Delivery {
    let contacts: Vec<Value> = (0..CONTACTS)
        .map(|number| {
            json!({
                "type": "contact",
                "contact": {
                    "full_name": format!("Contact {number}"),
                    "first_name": "Contact",
                    "phone_number": phone_number(number),
                },
                "action": "add",
                "metadata": {"timestamp": now.as_second().to_string()},
            })
        })
        .collect();
    let value = json!({"state_sync": contacts});
    delivery(partner, channel, "smb_app_state_sync", value)
}

/// The webhooks with months of chats of a channel.
pub(crate) fn chats(
    partner: &Partner,
    channel: &Channel,
    size: Size,
    now: Timestamp,
) -> impl Iterator<Item = Delivery> {
    (1..=size.bodies).map(move |order| {
        let history = json!([{
            "metadata": {"phase": 0, "chunk_order": order, "progress": 100 * order / size.bodies},
            "threads": threads(channel, size.bytes, now),
        }]);
        delivery(partner, channel, "history", json!({"history": history}))
    })
}

/// Chats that have so many bytes together.
fn threads(channel: &Channel, bytes: usize, now: Timestamp) -> Vec<Value> {
    (0..CONTACTS)
        .map(|number| {
            let contact = phone_number(number);
            let messages = messages(channel, &contact, bytes.div_ceil(CONTACTS), now);
            json!({"id": contact, "messages": messages})
        })
        .collect()
}

fn messages(channel: &Channel, contact: &str, bytes: usize, now: Timestamp) -> Vec<Value> {
    let oldest = now.as_second() - SECONDS;
    let mut size = 0;
    let mut messages = Vec::new();
    for text in TEXTS.into_iter().cycle() {
        if size >= bytes {
            break;
        }
        let is_sent = messages.len() % 2 == 1;
        let (from, to) = match is_sent {
            true => (channel.phone_number.as_str(), contact),
            false => (contact, channel.phone_number.as_str()),
        };
        let message = json!({
            "from": from,
            "to": to,
            "id": id::message(),
            "timestamp": fastrand::i64(oldest..now.as_second()).to_string(),
            "type": "text",
            "text": {"body": text},
            "history_context": {"status": "READ"},
        });
        size += message.to_string().len();
        messages.push(message);
    }
    messages
}

/// The phone number of a contact, out of the range for fiction.
fn phone_number(contact: usize) -> String {
    format!("121255501{contact:02}")
}

/// The id of the data is that of the WABA, not of the channel.
fn delivery(partner: &Partner, channel: &Channel, field: &str, mut value: Value) -> Delivery {
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] = json!({
        "display_phone_number": channel.phone_number,
        "phone_number_id": channel.app_id,
    });
    let changes = json!([{"field": field, "value": value}]);
    let data = json!({"id": channel.waba_external_id, "changes": changes});
    Delivery::new(&partner.id, field, &data)
}
