//! Flags over environment over file over defaults, with the origin of each value kept for `windlass check`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{
    ADMIN_TOKEN_ENV, Config, ConfigError, FAKTORY_PASSWORD_ENV, FIELDS, FILE_NAME, FILE_SYSTEM, ServerFlags,
    StoreKind, file,
};
use crate::access::AdminToken;
use crate::faktory::Password;
use crate::store::DatabaseUrl;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file, with the line.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => write!(f, "${name}"),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Key of the field.
    pub key: &'static str,
    /// The value.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// A whole configuration with its origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The configuration, checked.
    pub config: Config,
    /// The values in the order of [`FIELDS`].
    pub settings: Vec<Setting>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
}

/// Puts flags, environment and file together. `env` looks a variable up, so that tests need not touch the process.
///
/// # Errors
/// [`ConfigError`] names the origin, the key, the reason and what to do.
pub fn resolve(flags: &ServerFlags, env: &dyn Fn(&str) -> Option<String>) -> Result<Resolved, ConfigError> {
    let (path, entries) = match find_file(flags)? {
        Some((path, text)) => {
            let entries = file::parse(&path.display().to_string(), &text)?;
            (Some(path), entries)
        }
        None => (None, Vec::new()),
    };
    let mut config = Config::default();
    let mut settings = Vec::with_capacity(FIELDS.len());
    for field in FIELDS {
        let flag = flags.given.get(field.key).map(|v| (v.clone(), Origin::Flag(field.flag)));
        let variable = || env(&field.env()).map(|v| (v, Origin::Env(field.env())));
        let from_file = || {
            let entry = entries.iter().find(|entry| entry.key == field.key)?;
            Some((entry.value.clone(), Origin::File(path.clone()?, entry.line)))
        };
        let (value, origin) = flag
            .or_else(variable)
            .or_else(from_file)
            .unwrap_or_else(|| (field.default.to_owned(), Origin::Default));
        (field.set)(&mut config, &value).map_err(|reason| {
            // A URL may hold a password.
            let shown = if value.contains("://") { "\"…\"".to_owned() } else { format!("{value:?}") };
            ConfigError(format!(
                "{origin}: {} = {shown} is {reason}; the default is {}",
                field.key, field.default
            ))
        })?;
        settings.push(Setting { key: field.key, value: (field.get)(&config), origin });
    }
    name_database(&mut config)?;
    config.faktory_password = faktory_password(&config, env)?;
    config.admin_token = admin_token(&config, env)?;
    config.validate()?;
    Ok(Resolved { config, settings, file: path })
}

/// The database's URL from its file, and what its certificate is checked against.
fn name_database(config: &mut Config) -> Result<(), ConfigError> {
    if let Some(path) = &config.store_file {
        config.database = Some(from_file("store_file", path, |text| DatabaseUrl::parse(text.trim()))?);
        config.store = StoreKind::Postgres;
    }
    if let Some(database) = &mut config.database {
        database.trust(config.store_ca.clone());
    }
    Ok(())
}

/// The password of the Faktory port: from its file, or else from the environment.
fn faktory_password(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Password>, ConfigError> {
    let Some(path) = &config.faktory_password_file else {
        return Ok(env(FAKTORY_PASSWORD_ENV).and_then(|text| Password::new(&text)));
    };
    let empty = || "is empty; write the password into it".to_owned();
    from_file("faktory_password_file", path, |text| Password::new(text).ok_or_else(empty)).map(Some)
}

/// The token that may do everything: from its file, or else from the environment.
fn admin_token(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<AdminToken>, ConfigError> {
    let Some(path) = &config.admin_token_file else {
        let given = env(ADMIN_TOKEN_ENV).filter(|text| !text.trim().is_empty());
        let read =
            |text: String| AdminToken::new(&text).map_err(|e| ConfigError(format!("{ADMIN_TOKEN_ENV}: {e}")));
        return given.map(read).transpose();
    };
    from_file("admin_token_file", path, AdminToken::new).map(Some)
}

/// What stands in a file that the setting `key` names.
fn from_file<T>(
    key: &str,
    path: &Path,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"));
    let found = text.and_then(|text| read(&text));
    found.map_err(|why| ConfigError(format!("{key}: {}: {why}", path.display())))
}

/// The file to read, with its text. A named file must exist; the usual places need not.
fn find_file(flags: &ServerFlags) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| {
            ConfigError(format!("{}: cannot be read: {e}; name another file with --config", path.display()))
        })
    };
    if let Some(path) = &flags.file {
        return Ok(Some((path.clone(), read(path)?)));
    }
    for place in [FILE_NAME, FILE_SYSTEM] {
        let path = PathBuf::from(place);
        if path.is_file() {
            let text = read(&path)?;
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_with_file(dir: &tempfile::TempDir, text: &str) -> ServerFlags {
        let path = dir.path().join("windlass.toml");
        std::fs::write(&path, text).expect("file is written");
        ServerFlags { file: Some(path), ..ServerFlags::default() }
    }

    /// Each layer covers those below it, and the origin says which one won.
    #[test]
    fn flags_cover_environment_covers_file_covers_defaults() {
        let dir = tempfile::tempdir().expect("directory");
        let text = "cluster = \"file\"\nlog = \"debug\"\nstore = \"memory\"\n";
        let flags = flags_with_file(&dir, text).or("cluster", "flag");
        let env = |name: &str| match name {
            "WINDLASS_CLUSTER" | "WINDLASS_LOG" => Some("warn".to_owned()),
            _ => None,
        };
        let resolved = resolve(&flags, &env).expect("good");
        assert_eq!((resolved.config.cluster.as_str(), resolved.config.log.as_str()), ("flag", "warn"));
        let origin = |key| resolved.settings.iter().find(|s| s.key == key).map(|s| s.origin.to_string());
        assert_eq!(origin("cluster").as_deref(), Some("--cluster"));
        assert_eq!(origin("log").as_deref(), Some("$WINDLASS_LOG"));
        assert!(origin("store").is_some_and(|o| o.ends_with("windlass.toml:3")));
        assert_eq!(origin("lease").as_deref(), Some("default"));
    }

    #[test]
    fn a_bad_value_names_its_origin() {
        let flags = ServerFlags::default().or("lease", "soon");
        let text = resolve(&flags, &|_| None).expect_err("not a duration").to_string();
        assert_eq!(
            text,
            "--lease: lease = \"soon\" is not a duration such as 500ms, 8s or 2m; the default is 8s"
        );
    }

    #[test]
    fn the_password_comes_from_its_file_or_the_environment() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("password");
        let file = |text: &str| {
            std::fs::write(&path, text).expect("file is written");
            let flags = ServerFlags::default().or("faktory_password_file", &path.display().to_string());
            resolve(&flags, &|_| None)
        };
        assert_eq!(file("secret\n").expect("good").config.faktory_password, Password::new("secret"));
        assert!(file("\n").expect_err("empty").to_string().contains("is empty"));
        let env = |name: &str| (name == FAKTORY_PASSWORD_ENV).then(|| "other".to_owned());
        let resolved = resolve(&ServerFlags::default(), &env).expect("a good one");
        assert_eq!(resolved.config.faktory_password, Password::new("other"));
        assert!(!format!("{:?}", resolved.config).contains("other"), "a password is not printed");
    }

    #[test]
    fn the_admin_token_comes_from_its_file_or_the_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        std::fs::write(&path, "a-token-of-some-length\n").expect("file is written");
        let flags = ServerFlags::default().or("admin_token_file", &path.display().to_string());
        let of = |text: &str| AdminToken::new(text).ok();
        assert_eq!(
            resolve(&flags, &|_| None).expect("good").config.admin_token,
            of("a-token-of-some-length")
        );
        let given = |text: &'static str| move |name: &str| (name == ADMIN_TOKEN_ENV).then(|| text.to_owned());
        let by_env = resolve(&ServerFlags::default(), &given("another-of-some-length")).expect("good");
        assert_eq!(by_env.config.admin_token, of("another-of-some-length"));
        let short = resolve(&ServerFlags::default(), &given("short")).expect_err("too short").to_string();
        assert!(short.starts_with(ADMIN_TOKEN_ENV) && short.contains("at least 16"), "{short}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let flags = ServerFlags { file: Some("/nowhere/w.toml".into()), ..ServerFlags::default() };
        assert!(resolve(&flags, &|_| None).expect_err("absent").to_string().contains("/nowhere/w.toml"));
    }
}
