//! Serves the pages over made-up data, for work on templates, styles and scripts: `cargo run --example preview`.
//!
//! Style sheets and scripts are read from disk at each request in a debug build, so a reload shows a change.

use std::sync::Arc;

use windlass_dashboard::{Dashboard, Options};

#[path = "../tests/http/fake.rs"]
mod fake;
#[path = "../tests/http/made.rs"]
mod made;
#[path = "../tests/http/sample.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod sample;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(7420);
    let backend = match std::env::args().nth(2).as_deref() {
        None => fake::Fake::busy(),
        Some(many @ ("cluster" | "lost")) => {
            let fake = fake::Fake::busy();
            let view = if many == "lost" { made::lost() } else { made::three() };
            fake.world.lock().expect("nobody else has it").cluster = Some(view);
            fake
        }
        Some(_) => fake::Fake::empty(),
    };
    let options =
        Options { version: "preview".to_owned(), badge: Some("staging".to_owned()), ..Options::default() };
    let dashboard = Dashboard::new(Arc::new(backend), options);
    println!("http://127.0.0.1:{port}/");
    let app = move || actix_web::App::new().configure(|cfg| dashboard.configure(cfg));
    actix_web::HttpServer::new(app).workers(1).bind(("127.0.0.1", port))?.run().await
}
