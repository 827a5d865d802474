//! `windlass check`: what a server started here and now would use, and who says so.

use super::error::CliError;
use super::output::Output;
use crate::config::{FIELDS, Resolved, ServerFlags, resolve};
use crate::door::Tls;

/// Arguments of `windlass check`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass check                         what `windlass server` would use here
  windlass check --config prod.toml      whether a file is right, before it is deployed
  windlass check --json | jq .http")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    flags: ServerFlags,
}

/// Runs `windlass check`.
///
/// # Errors
/// Exit code 2 for a configuration that a server would refuse.
pub(crate) fn run(args: CheckArgs, out: Output) -> Result<(), CliError> {
    let resolved = resolve(&args.flags, &|name| std::env::var(name).ok())?;
    if let Some(files) = resolved.config.tls_files() {
        Tls::load(&files).map_err(|e| CliError::usage(format!("TLS: {e}")))?;
    }
    strange_variables(out);
    if out.json {
        return json(&resolved, out);
    }
    match &resolved.file {
        Some(path) => out.hint(format!("read {}", path.display())),
        None => out.hint("no configuration file; ./windlass.toml would be read"),
    }
    let rows = resolved
        .settings
        .iter()
        .map(|s| vec![s.key.into(), s.value.as_str().into(), s.origin.to_string().into()]);
    out.table(&["KEY", "VALUE", "ORIGIN"], rows.collect())
}

fn json(resolved: &Resolved, out: Output) -> Result<(), CliError> {
    let entry = |s: &crate::config::Setting| {
        (s.key.to_owned(), serde_json::json!({ "value": s.value, "origin": s.origin.to_string() }))
    };
    out.json_value(&resolved.settings.iter().map(entry).collect::<serde_json::Map<_, _>>())
}

/// Variables that look like ours and are not. They are no error, because an orchestrator may set some for its own use.
fn strange_variables(out: Output) {
    const OURS: [&str; 7] = [
        crate::config::FILE_ENV,
        crate::config::FAKTORY_PASSWORD_ENV,
        crate::config::ADMIN_TOKEN_ENV,
        super::connect::TOKEN_ENV,
        super::connect::TOKEN_FILE_ENV,
        "WINDLASS_SERVER",
        "WINDLASS_TLS_CA",
    ];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("WINDLASS_")) else { continue };
        if !OURS.contains(&name) && !FIELDS.iter().any(|field| field.env() == name) {
            out.hint(format!("${name} is no setting of windlass and is ignored"));
        }
    }
}
