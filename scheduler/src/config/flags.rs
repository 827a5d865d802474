//! The fields as flags of the command line, made from the table so that no flag can be forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::{FIELDS, FILE_ENV};

/// The flags that were given: text by key, and the file that was named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFlags {
    /// Values as they were typed, by key.
    pub given: BTreeMap<&'static str, String>,
    /// The file named by `--config` or its variable.
    pub file: Option<PathBuf>,
}

impl ServerFlags {
    /// The same flags with `key` set, unless it was given.
    #[must_use]
    pub fn or(mut self, key: &'static str, value: &str) -> ServerFlags {
        self.given.entry(key).or_insert_with(|| value.to_owned());
        self
    }
}

impl Args for ServerFlags {
    fn augment_args(mut command: Command) -> Command {
        for field in FIELDS {
            let help = format!("{} [env: {}]", field.doc, field.env());
            let mut arg = Arg::new(field.key).long(field.flag).value_name(field.value).help(help);
            arg = arg.action(ArgAction::Set).help_heading("Server");
            if field.switch {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            }
            command = command.arg(arg);
        }
        let file = Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf));
        let help = "Configuration file. Defaults to ./windlass.toml, then /etc/windlass/windlass.toml, if there is one";
        command.arg(file.env(FILE_ENV).help(help).help_heading("Server").hide_env_values(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServerFlags::augment_args(command)
    }
}

impl FromArgMatches for ServerFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServerFlags, clap::Error> {
        let mut flags = ServerFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for field in FIELDS {
            if let Some(value) = matches.get_one::<String>(field.key) {
                self.given.insert(field.key, value.clone());
            }
        }
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.file = Some(file.clone());
        }
        Ok(())
    }
}
