//! The pages in a real Chromium, over a real node with real jobs.
//!
//! Needs `chromium` and `chromedriver` (on Debian: `apt-get install chromium chromium-driver`). Where they are missing the
//! tests say so and pass, unless `WINDLASS_REQUIRE_BROWSER=1`, as in CI.

mod actions;
mod appearance;
mod browser;
mod bulk;
mod keyboard;
mod live;
mod site;
