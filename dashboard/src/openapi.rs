//! The OpenAPI document, made from the table of routes: what a route takes and answers stands in [`operations`], and the shapes
//! in [`schema`]. A test walks all routes and holds their real answers against it.

mod operations;
mod schema;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem,
    PathsBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
};

use crate::i18n::Lang;
use crate::problem;
use crate::routes::{ROUTES, Route, Verb};

pub(crate) use operations::{Answer, Body, Op, Query, Value, of};

/// The document as JSON; it does not change while the program runs.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| document().to_json().expect("a document of text and numbers is JSON"));

pub(crate) async fn serve() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// The document, read: for the page that shows it.
pub(crate) fn value() -> serde_json::Value {
    serde_json::from_str(&DOCUMENT).expect("it was written a moment ago")
}

fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        if let Some(op) = route.key.and_then(of) {
            paths = paths.path(route.path, PathItem::new(method(route.verb), operation(route, op)));
        }
    }
    let info = InfoBuilder::new()
        .title("Windlass")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A durable job queue and task scheduler. Times are milliseconds since the Unix epoch, UTC. Errors are problems in \
             the sense of RFC 9457, with a stable code. A 429 or 503 says in Retry-After when to come back.",
        ))
        .build();
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("an access token")).build();
    let mut components = ComponentsBuilder::new().security_scheme("token", SecurityScheme::Http(bearer));
    for (name, schema) in schema::all() {
        components = components.schema(name, schema);
    }
    // A node without tokens asks for none.
    let security = [SecurityRequirement::new("token", [""; 0]), SecurityRequirement::default()];
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some(security))
        .build()
}

fn method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Get => HttpMethod::Get,
        Verb::Post => HttpMethod::Post,
        Verb::Put => HttpMethod::Put,
        Verb::Delete => HttpMethod::Delete,
    }
}

fn operation(route: &Route, op: &Op) -> Operation {
    let key = route.key.unwrap_or_default();
    let mut operation = OperationBuilder::new()
        .tag(op.tag)
        .operation_id(Some(key.trim_start_matches("route.")))
        .summary(Some(Lang::En.t(key)));
    for name in route.path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
        operation = operation.parameter(in_path(name));
    }
    for query in op.query {
        operation = operation.parameter(in_query(query));
    }
    if let Some(body) = &op.body {
        operation = operation.request_body(Some(request_body(body)));
        if matches!(body, Body::Json("NewJob") | Body::JobBatch) {
            operation = operation.parameter(idempotency_key());
        }
    }
    for (status, answer) in op.answers {
        operation = operation.response(status.to_string(), response(answer));
    }
    for status in op.statuses() {
        operation = operation.response(status.to_string(), problem_response(status));
    }
    operation.build()
}

fn request_body(body: &Body) -> utoipa::openapi::request_body::RequestBody {
    let json = "application/json";
    let content = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    let builder = RequestBodyBuilder::new();
    let optional = matches!(body, Body::Optional(_));
    let builder = match body {
        Body::Json(name) | Body::Optional(name) => builder.content(json, content(reference(name))),
        Body::JobBatch => builder.content(json, content(reference("NewJobs"))),
        Body::Event => builder
            .content("application/cloudevents+json", content(reference("CloudEvent")))
            .content("application/cloudevents-batch+json", content(list("CloudEvent"))),
    };
    builder.required(Some(if optional { Required::False } else { Required::True })).build()
}

fn response(answer: &Answer) -> Response {
    let json = |schema| {
        ResponseBuilder::new().content("application/json", ContentBuilder::new().schema(Some(schema)).build())
    };
    match answer {
        Answer::One(name) => json(reference(name)).description(*name).build(),
        Answer::List(name) => json(list(name)).description(format!("a list of {name}")).build(),
        Answer::Any => json(ObjectBuilder::new().build().into()).description("an object").build(),
        Answer::Text => {
            let text: Schema = ObjectBuilder::new().schema_type(Type::String).build().into();
            let content = ContentBuilder::new().schema(Some(text)).build();
            ResponseBuilder::new().content("text/plain", content).description("text").build()
        }
    }
}

fn problem_response(status: u16) -> Response {
    let mut response = ResponseBuilder::new()
        .content(problem::MIME, ContentBuilder::new().schema(Some(reference("Problem"))).build())
        .description(operations::meaning(status));
    if matches!(status, 429 | 503) {
        let seconds: Schema = ObjectBuilder::new().schema_type(Type::Integer).build().into();
        let header =
            HeaderBuilder::new().schema(seconds).description(Some("seconds until it is worth another try"));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

fn list(name: &str) -> RefOr<Schema> {
    let array: Schema = ArrayBuilder::new().items(reference(name)).build().into();
    array.into()
}

fn in_path(name: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let (schema, about) = match name {
        "id" => (text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))), "the job"),
        "worker" => (text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))), "the worker"),
        "bulk" => (ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)), "the operation"),
        "queue" => (text.pattern(Some(schema::QUEUE_PATTERN)), "the queue; / in its name is %2F"),
        _ => (text.min_length(Some(1)), "the name; / in it is %2F"),
    };
    let schema: Schema = schema.build().into();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn in_query(query: &Query) -> Parameter {
    let schema: RefOr<Schema> = match query.value {
        Value::Text => Schema::from(ObjectBuilder::new().schema_type(Type::String).build()).into(),
        Value::Queue => {
            let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(schema::QUEUE_PATTERN));
            Schema::from(text.build()).into()
        }
        Value::State => reference("JobState"),
        Value::Number(min, max) => {
            let number =
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min)).maximum(Some(max));
            Schema::from(number.build()).into()
        }
    };
    ParameterBuilder::new()
        .name(query.name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(query.about))
        .schema(Some(schema))
        .build()
}

fn idempotency_key() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    let text: Schema = text.pattern(Some("^[!#-~]+$")).build().into();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("the same key again in the same queue makes no second job"))
        .schema(Some(text))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_api_is_described_and_nothing_else() {
        for route in ROUTES {
            if let Some(key) = route.key {
                assert!(of(key).is_some(), "{} {} is not described", route.verb.name(), route.path);
            }
        }
        for op in operations::ALL {
            assert!(ROUTES.iter().any(|route| route.key == Some(op.key)), "{} is no route", op.key);
        }
    }

    #[test]
    fn every_reference_has_its_schema_and_every_schema_is_used() {
        let document: serde_json::Value = value();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let used: std::collections::BTreeSet<&str> = DOCUMENT
            .split("\"#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let known: std::collections::BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
        assert_eq!(used, known);
    }
}
