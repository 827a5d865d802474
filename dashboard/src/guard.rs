//! Who may ask, and what every answer carries.
//!
//! - A `Host` that is neither a loopback name, nor an address, nor on the list is refused: a page of a stranger cannot
//!   reach this node by pointing its own name here (DNS rebinding).
//! - A browser may change something only from our own pages: `Sec-Fetch-Site`, or `Origin` in older browsers.
//!   Programs send neither and pass.
//! - A read-only node refuses every method but GET and HEAD here, whatever the pages show.

use std::net::IpAddr;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};

use crate::problem::Problem;
use crate::{Dashboard, Options};

/// Nothing inline, nothing from elsewhere: text of users that became markup by mistake could still do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Browsers that have seen the node under TLS come back with it for half a year, whatever somebody puts between. It concerns the whole
/// name, so it is said by a node that speaks TLS itself, and not of other names below it.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=15552000");

const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

pub(crate) async fn guard(
    req: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody, BoxBody>>, Error> {
    let options =
        req.app_data::<web::Data<Dashboard>>().expect("registered with the routes").options().clone();
    let mut response = match check(req.method(), req.path(), req.headers(), &options) {
        Ok(()) => next.call(req).await?.map_into_left_body(),
        Err(problem) => req.into_response(problem.error_response()).map_into_right_body(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    if options.tls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

fn check(method: &Method, path: &str, headers: &HeaderMap, options: &Options) -> Result<(), Problem> {
    let host = text(headers, header::HOST);
    if let Some(host) = host
        && !host_is_known(host, &options.hosts)
    {
        let detail = format!(
            "the node does not answer to the name {host:?}; use an address, or add the name to the allowed hosts"
        );
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", "Unknown host", detail));
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    if !origin_is_ours(headers, host) {
        let detail = "a page of another site may not change anything here";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", "Refused", detail));
    }
    // Signing in and out changes nothing of the node.
    if options.read_only && !matches!(path, "/login" | "/logout") {
        let detail = "this node is read-only: it shows everything and changes nothing";
        return Err(Problem::new(StatusCode::FORBIDDEN, "read_only", "Read-only", detail));
    }
    Ok(())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// The host without its port; brackets of an IPv6 address are taken off.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn host_is_known(host: &str, allowed: &[String]) -> bool {
    let name = bare(host);
    // A browser that was asked for an address has that address as its origin, so no name can be rebound to it.
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || allowed.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
}

fn origin_is_ours(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = text(headers, HeaderName::from_static("sec-fetch-site")) {
        return matches!(site, "same-origin" | "none");
    }
    match text(headers, header::ORIGIN) {
        None => true,
        Some(origin) => {
            let ours = origin.split_once("://").map(|(_, rest)| rest);
            ours.is_some() && ours == host
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let allowed = vec!["jobs.example.org".to_owned()];
        for good in
            ["127.0.0.1:7420", "[::1]:7420", "LOCALHOST", "a.localhost:1", "Jobs.example.org:80", "10.0.0.7"]
        {
            assert!(host_is_known(good, &allowed), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:7420",
            "127.0.0.1.evil.example",
            "",
            "jobs.example.org.evil",
        ] {
            assert!(!host_is_known(bad, &allowed), "{bad}");
        }
    }
}
