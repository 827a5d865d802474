//! `windlass token`: who is let in.

use std::time::Duration;

use clap::Subcommand;
use windlass_core::access::{QueuePattern, Role};
use windlass_core::api::{Request, Response, TokenSpec, TokenView};
use windlass_core::time::millis;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, Word, cell, relative};
use super::value;

/// Arguments of `windlass token`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass token create me --role admin                     the first one; from then on every door asks
  windlass token create shop --role producer --queue 'mail*'
  windlass token create mailer --role worker --queue mail --expires 90d
  windlass token revoke shop")]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token and print it; it is not shown again
    Create(CreateArgs),
    /// List tokens, without their secrets
    #[command(visible_alias = "ls")]
    List,
    /// End a token at once, at every door, open connections included
    #[command(visible_alias = "rm")]
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass token create me --role admin > token; chmod 600 token
  windlass token create shop --role producer --queue 'mail*' --queue bulk
  windlass token create sidekick --role worker --faktory

Roles: producer (enqueue, look at a job), worker (that, and run jobs), viewer (look at everything), operator (enqueue, look, steer),
admin (everything, tokens among it).")]
struct CreateArgs {
    /// A name for lists and for the audit log
    name: String,
    /// producer, worker, viewer, operator or admin
    #[arg(long)]
    role: Role,
    /// Only this queue, or all whose names begin so: 'mail*'; may be given several times [default: all queues]
    #[arg(long = "queue", value_name = "QUEUE")]
    queues: Vec<QueuePattern>,
    /// How long it is good, such as 30d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    expires: Option<Duration>,
    /// Open the Faktory door too, with a password of its own; the server has to keep that password as it is
    #[arg(long)]
    faktory: bool,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Its name or id
    #[arg(value_name = "NAME|ID")]
    token: String,
}

/// Runs `windlass token`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: TokenArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        match args.verb {
            Verb::Create(args) => create(&server, args, out).await,
            Verb::List => match server.call(Request::ListTokens).await? {
                response if out.json => out.response(&response),
                Response::Tokens(tokens) => list(&tokens, out),
                other => Err(unexpected(&other)),
            },
            Verb::Revoke(RevokeArgs { token }) => {
                match server.call(Request::RevokeToken { token }).await.map_err(|e| e.about("token"))? {
                    response if out.json => out.response(&response),
                    Response::Tokens(tokens) => tokens
                        .iter()
                        .try_for_each(|t| out.line(format!("token {} ({}) revoked", t.name, t.id))),
                    other => Err(unexpected(&other)),
                }
            }
        }
    })
}

async fn create(server: &Server, args: CreateArgs, out: Output) -> Result<(), CliError> {
    let CreateArgs { name, role, queues, expires, faktory } = args;
    let spec = TokenSpec { name, role, queues, expires_in_ms: expires.map(millis), faktory };
    let made = match server.call(Request::CreateToken(spec)).await.map_err(|e| e.about("token"))? {
        response if out.json => return out.response(&response),
        Response::TokenMade(made) => made,
        other => return Err(unexpected(&other)),
    };
    out.hint(format!(
        "token {} ({}), {}; keep it now, it is not shown again. Use it with WINDLASS_ACCESS_TOKEN, --token-file, or as \
         Authorization: Bearer …",
        made.view.name, made.view.id, made.view.role
    ));
    out.line(&made.secret)?;
    match &made.faktory_password {
        Some(password) => {
            out.hint("password for Faktory clients, as in tcp://:PASSWORD@host:7419:");
            out.line(password)
        }
        None => Ok(()),
    }
}

fn list(tokens: &[TokenView], out: Output) -> Result<(), CliError> {
    if tokens.is_empty() {
        out.hint(
            "no tokens: whoever reaches this server may do everything; make one with `windlass token create`",
        );
        return Ok(());
    }
    let now = value::now();
    let row = |token: &TokenView| -> Vec<Word> {
        let queues: Vec<&str> = token.queues.iter().map(QueuePattern::as_str).collect();
        let queues = if queues.is_empty() { "all".to_owned() } else { cell(&queues.join(",")) };
        let expires: Word = match token.expires_at {
            None => "never".into(),
            Some(at) if at <= now => Word::tinted(31, "expired"),
            Some(at) => relative(at, now).into(),
        };
        let doors = if token.faktory { "all" } else { "native, HTTP" };
        vec![
            token.name.as_str().into(),
            token.id.to_string().into(),
            token.role.name().into(),
            queues.into(),
            doors.into(),
            relative(token.created_at, now).into(),
            expires,
        ]
    };
    out.table(
        &["TOKEN", "ID", "ROLE", "QUEUES", "DOORS", "CREATED", "EXPIRES"],
        tokens.iter().map(row).collect(),
    )
}
