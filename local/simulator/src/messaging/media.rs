//! Media: uploads are taken and forgotten, and every download is the same small picture.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::{Answer, caller};
use crate::{
    id,
    partner_api::{credentials::header_text, error::ApiError},
    simulator::Simulator,
    state::Records,
};

/// The largest upload, bytes: that of a document on WhatsApp.
pub(super) const LARGEST_UPLOAD: usize = 100 << 20;
/// Where the address of a download is. Clients put the host of the messaging API in its place.
const DOWNLOAD: &str = "https://lookaside.fbsbx.com/whatsapp_business/attachments/";
const TYPE: &str = "image/gif";
/// One transparent pixel.
const PICTURE: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\
    \x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

pub(super) async fn upload(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (partner, channel) = simulator.store.read(|records| caller(records, &headers))?;
    let content_type = header_text(&headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if !content_type.starts_with("multipart/form-data") || body.is_empty() {
        return Err(ApiError::BAD_MEDIA);
    }
    let id = id::number();
    simulator.store.change(|records| {
        let channel = records.channel_mut(&partner, &channel);
        let channel = channel.ok_or(ApiError::UNAUTHORIZED)?;
        channel.media.insert(id.clone());
        Ok::<_, ApiError>(())
    })?;
    Ok(Json(json!({"id": id})))
}

pub(super) async fn show(
    State(simulator): State<Arc<Simulator>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    simulator
        .store
        .read(|records| require(records, &headers, &id))?;
    Ok(Json(json!({
        "messaging_product": "whatsapp",
        "id": id,
        "url": format!("{DOWNLOAD}?mid={id}"),
        "mime_type": TYPE,
        "sha256": HEXLOWER.encode(&Sha256::digest(PICTURE)),
        "file_size": PICTURE.len(),
    })))
}

pub(super) async fn download(
    State(simulator): State<Arc<Simulator>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "mid");
    let (_, id) = id.ok_or(ApiError::NO_SUCH_MEDIA)?;
    simulator
        .store
        .read(|records| require(records, &headers, &id))?;
    Ok(([(header::CONTENT_TYPE, TYPE)], PICTURE).into_response())
}

pub(super) async fn delete(
    State(simulator): State<Arc<Simulator>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    simulator.store.change(|records| {
        let (partner, channel) = require(records, &headers, &id)?;
        if let Some(channel) = records.channel_mut(&partner, &channel) {
            channel.media.remove(&id);
        }
        Ok::<_, ApiError>(())
    })?;
    Ok(Json(json!({"success": true})))
}

/// Partner id and channel id of the key in the headers, if the channel has this upload.
fn require(records: &Records, headers: &HeaderMap, id: &str) -> Result<(String, String), ApiError> {
    let (partner, channel) = caller(records, headers)?;
    let has_it = records
        .channel(&partner, &channel)
        .is_some_and(|channel| channel.media.contains(id));
    has_it
        .then_some((partner, channel))
        .ok_or(ApiError::NO_SUCH_MEDIA)
}
