//! `/docs/api`: the API to leaf through, without any other site: the table of routes, and for each what it takes and answers, as the
//! OpenAPI document says it.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde_json::Value;

use crate::Dashboard;
use crate::openapi;
use crate::routes::ROUTES;
use crate::shell::{Place, Shell};

#[derive(Template)]
#[template(path = "docs.html")]
struct Page {
    shell: Shell,
    routes: Vec<RouteDoc>,
    shapes: Vec<Shape>,
}

/// One route.
struct RouteDoc {
    verb: &'static str,
    path: &'static str,
    anchor: &'static str,
    text: &'static str,
    parameters: Vec<Field>,
    body: Vec<String>,
    answers: Vec<(String, String, Option<String>)>,
}

/// One shape with its fields.
struct Shape {
    name: String,
    about: String,
    fields: Vec<Field>,
}

/// A parameter, or a member of a shape.
struct Field {
    name: String,
    kind: String,
    needed: bool,
    about: String,
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Docs);
    let document = openapi::value();
    let routes = ROUTES.iter().filter_map(|route| {
        let key = route.key?;
        let operation = &document["paths"][route.path][route.verb.name().to_lowercase()];
        Some(RouteDoc {
            verb: route.verb.name(),
            path: route.path,
            anchor: key.trim_start_matches("route."),
            text: shell.lang.t(key),
            parameters: list(&operation["parameters"]).iter().map(parameter).collect(),
            body: media(&operation["requestBody"]),
            answers: answers(&operation["responses"]),
        })
    });
    let routes = routes.collect();
    let shapes = document["components"]["schemas"].as_object().into_iter().flatten();
    let shapes = shapes.map(|(name, schema)| shape(name, schema)).collect();
    super::send(&dashboard, &req, Ok(Page { shell, routes, shapes }))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parameter(parameter: &Value) -> Field {
    Field {
        name: text(&parameter["name"]),
        kind: format!("{}, {}", text(&parameter["in"]), kind(&parameter["schema"])),
        needed: parameter["required"] == true,
        about: text(&parameter["description"]),
    }
}

/// What a body or an answer may be: media types, and their shapes.
fn media(carrier: &Value) -> Vec<String> {
    let content = carrier["content"].as_object().into_iter().flatten();
    content.map(|(media, content)| format!("{media}: {}", kind(&content["schema"]))).collect()
}

fn answers(responses: &Value) -> Vec<(String, String, Option<String>)> {
    let each = responses.as_object().into_iter().flatten();
    let answer = |(status, response): (&String, &Value)| {
        let problem = status.starts_with(['4', '5']);
        let shape = (!problem).then(|| media(response).join(", "));
        (status.clone(), text(&response["description"]), shape)
    };
    each.map(answer).collect()
}

fn shape(name: &str, schema: &Value) -> Shape {
    let required = list(&schema["required"]);
    let members = schema["properties"].as_object().into_iter().flatten();
    let fields = members.map(|(name, member)| Field {
        name: name.clone(),
        kind: kind(member),
        needed: required.iter().any(|needed| needed == name),
        about: text(&member["description"]),
    });
    let mut about = text(&schema["description"]);
    if schema["properties"].is_null() {
        about = format!("{about} {}", kind(schema)).trim().to_owned();
    }
    Shape { name: name.to_owned(), about, fields: fields.collect() }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(any) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return any.iter().map(kind).collect::<Vec<_>>().join(" | ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    let mut kind = match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().map(text).collect::<Vec<_>>().join(" | "),
        _ => "any JSON".to_owned(),
    };
    if schema["items"].is_object() {
        kind = format!("{kind} of {}", self::kind(&schema["items"]));
    }
    let bounds = [
        ("minimum", "≥"),
        ("maximum", "≤"),
        ("minItems", "items ≥"),
        ("maxItems", "items ≤"),
        ("maxLength", "length ≤"),
    ];
    for (key, sign) in bounds {
        if let Some(number) = schema[key].as_f64().filter(|number| *number != 0.0) {
            kind = format!("{kind}, {sign} {number}");
        }
    }
    if let Some(format) = schema["format"].as_str().filter(|format| *format == "uuid") {
        kind = format!("{kind}, {format}");
    }
    kind
}
