//! What can become of a file.

use std::path::{Path, PathBuf};

use super::base::{Base, Files};
use crate::support::Random;

const PAGE: usize = 4096;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Bit,
    Zeroes,
    Ones,
    Noise,
    Cut,
    Empty,
    Longer,
    Removed,
    Folder,
    Earlier,
    Foreign,
    Swapped,
    Copied,
}

impl Kind {
    pub(super) const ALL: [Kind; 13] = [
        Kind::Bit,
        Kind::Zeroes,
        Kind::Ones,
        Kind::Noise,
        Kind::Cut,
        Kind::Empty,
        Kind::Longer,
        Kind::Removed,
        Kind::Folder,
        Kind::Earlier,
        Kind::Foreign,
        Kind::Swapped,
        Kind::Copied,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Bit => "a bit flipped",
            Kind::Zeroes => "a page of zeroes",
            Kind::Ones => "a page of 0xff",
            Kind::Noise => "64 bytes overwritten",
            Kind::Cut => "cut short",
            Kind::Empty => "empty",
            Kind::Longer => "garbage behind it",
            Kind::Removed => "missing",
            Kind::Folder => "a folder in its place",
            Kind::Earlier => "an earlier copy of it",
            Kind::Foreign => "one of another store",
            Kind::Swapped => "swapped with its like",
            Kind::Copied => "a second copy of it",
        }
    }
}

/// A store's files after something happened to one of them.
pub(super) struct Damaged {
    pub(super) files: Files,
    /// Folders that stand where a file was.
    pub(super) folders: Vec<PathBuf>,
    pub(super) file: PathBuf,
    pub(super) kind: Kind,
    /// What exactly, for people.
    pub(super) what: String,
}

impl Damaged {
    pub(super) fn write(&self, dir: &Path) {
        super::base::write_files(dir, &self.files);
        for folder in &self.folders {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
        }
    }
}

/// Does one thing to one file.
pub(super) fn damage(base: &Base, foreign: &Base, random: &mut Random) -> Damaged {
    // Sled's log is most of the store and gets a third of the damage; the others share the rest.
    let names: Vec<&PathBuf> = base.files.keys().collect();
    let log = names.iter().position(|name| name.ends_with("db")).unwrap();
    loop {
        let which = if random.below(3) == 0 { log } else { random.below(names.len() as u64) as usize };
        let kind = Kind::ALL[random.below(Kind::ALL.len() as u64) as usize];
        if let Some(damaged) = apply(base, foreign, names[which], kind, random) {
            return damaged;
        }
    }
}

/// `None` where the kind makes no sense for the file, or would leave it as it is.
pub(super) fn apply(
    base: &Base,
    foreign: &Base,
    file: &Path,
    kind: Kind,
    random: &mut Random,
) -> Option<Damaged> {
    let mut files = base.files.clone();
    let mut folders = Vec::new();
    let content = files.get_mut(file)?;
    let at = random.below(content.len() as u64) as usize;
    let mut what = format!("{}: {}", file.display(), kind.name());
    match kind {
        Kind::Bit | Kind::Zeroes | Kind::Ones | Kind::Noise | Kind::Cut | Kind::Empty
            if content.is_empty() =>
        {
            return None;
        }
        Kind::Bit => content[at] ^= 1 << random.below(8),
        Kind::Zeroes | Kind::Ones => {
            let end = (at / PAGE * PAGE + PAGE).min(content.len());
            content[at / PAGE * PAGE..end].fill(if kind == Kind::Zeroes { 0 } else { 0xff });
        }
        Kind::Noise => content.iter_mut().skip(at).take(64).for_each(|byte| *byte = random.next() as u8),
        Kind::Cut => content.truncate(at),
        Kind::Empty => content.clear(),
        Kind::Longer => content.extend((0..1 + random.below(9_000)).map(|_| random.next() as u8)),
        Kind::Removed => drop(files.remove(file)),
        Kind::Folder => {
            files.remove(file);
            folders.push(file.to_owned());
        }
        Kind::Earlier => content.clone_from(base.earlier.get(file)?),
        Kind::Foreign => content.clone_from(&foreign.files[like(foreign, file, None, random)?]),
        Kind::Swapped => {
            let other = like(base, file, Some(file), random)?;
            *content = base.files[other].clone();
            files.insert(other.clone(), base.files[file].clone());
            what = format!("{what} {}", other.display());
        }
        Kind::Copied => {
            let copy = another_name(file)?;
            what = format!("{what} as {}", copy.display());
            files.insert(copy, base.files[file].clone());
        }
    }
    if kind == Kind::Bit || kind == Kind::Cut {
        what = format!("{what} at {at} of {}", base.files[file].len());
    }
    let same = files == base.files && folders.is_empty();
    (!same).then(|| Damaged { files, folders, file: file.to_owned(), kind, what })
}

/// A file of the same sort in a store.
fn like<'a>(store: &'a Base, file: &Path, but: Option<&Path>, random: &mut Random) -> Option<&'a PathBuf> {
    let sort = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem: String = name.chars().take_while(|c| !c.is_ascii_digit()).collect();
        (stem, path.extension().filter(|end| *end == "journal").map(ToOwned::to_owned))
    };
    let all: Vec<_> =
        store.files.keys().filter(|path| sort(path) == sort(file) && Some(path.as_path()) != but).collect();
    (!all.is_empty()).then(|| all[random.below(all.len() as u64) as usize])
}

/// The name that the next file of this sort would have.
fn another_name(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let digits = name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
    let digits: String = digits.collect();
    let next = digits.parse::<u64>().ok()? + 1 + u64::from(name.ends_with(".journal")) * 7;
    Some(file.with_file_name(name.replace(&digits, &format!("{next:0width$}", width = digits.len()))))
}
