//! CloudEvents 1.0 over HTTP: an event becomes a job whose kind is the event's type, in all three forms of the HTTP binding.
//!
//! Source and id of an event make the id of its job, so that an event that is sent again is no second job. Its other attributes
//! become headers of the job, named as the binding names them: `ce-source`, `ce-subject`, and so on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_core::api::body;
use windlass_core::id::QueueName;
use windlass_core::job::{JSON, JobSpec, Payload};
use windlass_core::limits;

use super::jobs::{Taken, TakenAll, derived_id, submit};
use super::{BATCH_BODY_BYTES_MAX, json, percent_decode, query, read_body};
use crate::Dashboard;
use crate::problem::Problem;
use crate::text::now;

/// Attributes that stand in the job itself.
const OWN: [&str; 6] = ["specversion", "id", "type", "data", "data_base64", "datacontenttype"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Into {
    queue: Option<QueueName>,
}

/// One event, whichever form it came in.
struct Event {
    attributes: BTreeMap<String, String>,
    payload: Payload,
}

pub(crate) async fn take(
    dashboard: Dashboard,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let queue = query::<Into>(&req)?.queue.unwrap_or_default();
    let bytes = read_body(&dashboard, &req, payload, BATCH_BODY_BYTES_MAX).await?.bytes;
    let events = events(&req, &bytes)?;
    if events.is_empty() {
        return Ok(json(StatusCode::OK, &TakenAll { jobs: Vec::new() }));
    }
    let several = events.len() > 1;
    let mut specs = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        specs.push(event.into_spec(&queue).map_err(|mut problem| {
            if several {
                problem.detail = format!("event {index}: {}", problem.detail);
            }
            problem
        })?);
    }
    let entries = submit(&dashboard, queue, specs).await?;
    let known = entries.iter().all(|entry| entry.duplicate);
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok(json(status, &TakenAll { jobs: entries.iter().map(Taken::from).collect() }))
}

fn events(req: &HttpRequest, bytes: &Bytes) -> Result<Vec<Event>, Problem> {
    let of = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let media = of(header::CONTENT_TYPE.as_str()).unwrap_or("");
    let essence = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/cloudevents+json" => Ok(vec![structured(body::read(bytes)?)?]),
        "application/cloudevents-batch+json" => {
            let all: Vec<BTreeMap<Cow<'_, str>, &RawValue>> = body::read(bytes)?;
            if all.len() > limits::BATCH_JOBS_MAX {
                let detail = format!("a batch has at most {} events", limits::BATCH_JOBS_MAX);
                return Err(Problem::invalid(detail));
            }
            all.into_iter().map(structured).collect()
        }
        _ if of("ce-specversion").is_some() => Ok(vec![binary(req, &essence, bytes)?]),
        _ => {
            let detail = "an event comes as application/cloudevents+json, as application/cloudevents-batch+json, or as any \
                          content with ce-specversion, ce-id, ce-source and ce-type in the headers";
            let (status, title) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not a CloudEvent");
            Err(Problem::new(status, "unsupported_media_type", title, detail))
        }
    }
}

/// The JSON form: attributes and data in one object.
fn structured(members: BTreeMap<Cow<'_, str>, &RawValue>) -> Result<Event, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in &members {
        let raw = value.get();
        if !name.starts_with("data") && raw != "null" {
            let text = if raw.starts_with('"') { serde_json::from_str(raw).ok() } else { None };
            if text.is_none() && (raw.starts_with(['{', '[']) || raw.starts_with('"')) {
                return Err(Problem::invalid(format!(
                    "the attribute {name:?} is text, a number or a truth value"
                )));
            }
            attributes.insert(name.to_string(), text.unwrap_or_else(|| raw.to_owned()));
        }
    }
    let text_of = |name: &str| match members.get(name).map(|value| value.get()) {
        None | Some("null") => Ok(None),
        Some(raw) => serde_json::from_str::<String>(raw)
            .map(Some)
            .map_err(|_| Problem::invalid(format!("the attribute {name:?} is text"))),
    };
    if let Some(schema) = text_of("dataschema")? {
        attributes.insert("dataschema".to_owned(), schema);
    }
    let media = text_of("datacontenttype")?.unwrap_or_default();
    let payload = match (members.get("data"), text_of("data_base64")?) {
        (Some(_), Some(_)) => return Err(Problem::invalid("an event has data or data_base64, not both")),
        (None, Some(coded)) => {
            let data =
                base64(&coded).ok_or_else(|| Problem::invalid("data_base64 is not base64 (RFC 4648 §4)"))?;
            Payload { content_type: media, data: data.into() }
        }
        (Some(data), None) if is_json(&media) => Payload::json(data.get().to_owned()),
        (Some(data), None) => {
            // Text of another kind travels as a JSON string.
            let text: String = serde_json::from_str(data.get()).map_err(|_| {
                Problem::invalid(format!("data of the type {media} is a string, or data_base64"))
            })?;
            Payload { content_type: media, data: text.into() }
        }
        (None, None) => Payload::json("null"),
    };
    Ok(Event { attributes, payload })
}

/// The binary form: attributes in headers, data as the body.
fn binary(req: &HttpRequest, media: &str, bytes: &Bytes) -> Result<Event, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in req.headers() {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().and_then(percent_decode);
        let text = text.ok_or_else(|| Problem::invalid(format!("the header ce-{name} is no text")))?;
        attributes.insert(name.to_owned(), text);
    }
    let payload = if bytes.is_empty() {
        Payload::json("null")
    } else if is_json(media) {
        body::read::<&RawValue>(bytes)?;
        Payload::json(bytes.clone())
    } else {
        Payload { content_type: media.to_owned(), data: bytes.clone() }
    };
    Ok(Event { attributes, payload })
}

fn is_json(media: &str) -> bool {
    media.is_empty() || media == JSON || media.ends_with("+json") || media == "text/json"
}

impl Event {
    fn into_spec(self, queue: &QueueName) -> Result<JobSpec, Problem> {
        let Event { attributes, payload } = self;
        let needed = |name: &str| {
            let value = attributes.get(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| Problem::invalid(format!("the event has no {name}")))
        };
        if needed("specversion")? != "1.0" {
            let version = &attributes["specversion"];
            return Err(Problem::invalid(format!("CloudEvents 1.0 is understood, not {version:?}")));
        }
        let (id, source) = (needed("id")?, needed("source")?);
        let mut spec = JobSpec::new(needed("type")?.clone(), payload);
        spec.id = Some(derived_id(&format!("event {queue} {} {source} {id}", source.len())));
        let others = attributes.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let mut headers = vec![("ce-id".to_owned(), id.clone())];
        headers.extend(others.map(|(name, value)| (format!("ce-{name}"), value.clone())));
        spec.options_mut().headers = headers;
        spec.validate(now())?;
        Ok(spec)
    }
}

/// RFC 4648 §4; padding may be left out. `None` for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0_u32;
        for byte in chunk {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        let bytes = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        word <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&word.to_be_bytes()[1..=bytes]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648 §10, and what is none.
    #[test]
    fn base64_follows_the_rfc() {
        let cases = [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
        ];
        for (coded, plain) in cases {
            assert_eq!(base64(coded).as_deref(), Some(plain.as_bytes()), "{coded}");
        }
        for broken in ["Z", "Zm9v!", "Zm 9v", "Z=g="] {
            assert_eq!(base64(broken), None, "{broken}");
        }
    }
}
