//! Style sheet, scripts and icon: embedded in the binary, under addresses that carry a hash of all of them, so that a
//! browser may keep them for ever and never mixes two versions.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Files;

static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort();
    // FNV-1a (Fowler, Noll, Vo): names a version, protects nothing.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in names {
        let data = Files::get(&name).map(|file| file.data).unwrap_or_default();
        for byte in name.bytes().chain(data.iter().copied()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("/assets/{hash:016x}")
});

/// Where the files of this version are.
pub(crate) fn prefix() -> &'static str {
    &PREFIX
}

pub(crate) async fn serve(req: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = req.match_info().query("file");
    let Some(file) = Files::get(name) else {
        return Err(Problem::not_found(format!("there is no file {name:?}")));
    };
    let mime = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    // An old page may ask for an old version: it gets today's file, which it must not keep under the old name.
    let current = req.path().starts_with(prefix()) && !cfg!(debug_assertions);
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    Ok(HttpResponse::Ok()
        .content_type(mime)
        .insert_header((header::CACHE_CONTROL, keep))
        .body(file.data.into_owned()))
}
