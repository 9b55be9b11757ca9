//! The policies' folder as texts: every `*.yaml` once, without `*_test.yaml`, and `tenants.csv`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Source};
use crate::policy::tree::{LARGEST, too_large};

/// The largest `tenants.csv` that is read: some 200,000 rows.
const LARGEST_TENANTS: u64 = 16 << 20;

/// How often a file is read that changes meanwhile.
const READ_TRIES: u32 = 10;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// What is read from a file at once.
const PIECE: u64 = 64 << 10;

/// What a folder holds at one moment.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The policies, by name.
    pub policies: Vec<Source>,
    /// `tenants.csv`.
    pub tenants: Option<Source>,
    /// SHA-256 over names and contents, in hex.
    pub digest: String,
}

/// Other policies than those of a folder.
#[derive(Debug, Clone)]
pub enum Change {
    /// One text: in place of the only policy file, else of `policy.yaml`.
    Text(String),
    /// All of them.
    Files(Vec<Source>),
}

impl Change {
    /// Every policy of a folder, under names that a policy file may have there.
    pub fn files(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut sources: Vec<Source> = Vec::new();
        for (name, text) in files {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
            if !plain || name.len() > 200 || !is_policy(Path::new(&name)) {
                return Err(format!(
                    "`{name}` is no name of a policy file: letters, digits, `.`, `_`, `-`, ending in `.yaml`"
                ));
            }
            if sources.iter().any(|other| *other.name == *name) {
                return Err(format!("`{name}` is given twice"));
            }
            sources.push(Source::new(&name, &text));
        }
        if sources.is_empty() {
            return Err("there is no policy among the files".to_owned());
        }
        Ok(Self::Files(sources))
    }
}

impl Files {
    /// Reads a folder. A folder that does not exist is empty: everything is metered, nothing enforced.
    pub fn read(folder: &Path) -> Result<Self, Box<Diagnostic>> {
        let mut files = Self::default();
        let mut paths: Vec<(PathBuf, PathBuf)> = Vec::new();
        match fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let path = entry.path();
                    if is_policy(&path) || path.file_name().is_some_and(|name| name == "tenants.csv") {
                        let canonical = fs::canonicalize(&path).map_err(|error| unreadable(&path, &error))?;
                        paths.push((path, canonical));
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(folder, &error)),
        }
        paths.sort();
        let mut read: Vec<PathBuf> = Vec::new();
        for (path, canonical) in paths {
            if read.contains(&canonical) {
                continue;
            }
            read.push(canonical);
            let source = source(&path)?;
            if is_policy(&path) { files.policies.push(source) } else { files.tenants = Some(source) }
        }
        files.digest = files.sum();
        Ok(files)
    }

    /// The folder's tests: every `*_test.yaml`, by name.
    pub fn tests(folder: &Path) -> Result<Vec<Source>, Box<Diagnostic>> {
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_test(path)).collect();
        paths.sort();
        paths.iter().map(|path| source(path)).collect()
    }

    /// The same with other policies. Their names have been checked.
    pub fn with(mut self, change: &Change) -> Self {
        match change {
            Change::Text(text) => {
                let source = Source { name: self.policy_name(), text: Arc::from(text.as_str()) };
                match self.policies.iter_mut().find(|other| other.name == source.name) {
                    Some(other) => *other = source,
                    None => self.policies.push(source),
                }
            }
            Change::Files(files) => self.policies.clone_from(files),
        }
        self.policies.sort_by(|one, other| one.name.cmp(&other.name));
        self.digest = self.sum();
        self
    }

    fn policy_name(&self) -> Arc<str> {
        match self.policies.as_slice() {
            [only] => Arc::clone(&only.name),
            _ => Arc::from("policy.yaml"),
        }
    }

    /// Writes the policies that differ from `old`, and deletes those that are no longer among them: all of it, or, where something
    /// fails on the way, nothing.
    pub fn write(&self, folder: &Path, old: &Self) -> Result<(), Box<Diagnostic>> {
        let new = self.policies.iter().filter(|source| !old.policies.iter().any(|old| old.name == source.name));
        for target in new.map(|source| folder.join(&*source.name)) {
            // It was not read: saved meanwhile, or another name of a file that was.
            if target.symlink_metadata().is_ok() {
                return Err(Box::new(unwritable(&target, &std::io::ErrorKind::AlreadyExists.into())));
            }
        }
        self.put(folder, old).map_err(|fault| Box::new(old.put_back(folder, self, *fault)))
    }

    /// Undoes the writing of `new` over these because of `fault`, and says so when even that fails.
    pub(super) fn put_back(&self, folder: &Path, new: &Self, fault: Diagnostic) -> Diagnostic {
        match self.put(folder, new) {
            Ok(()) => fault,
            Err(second) => fault.note(format!(
                "the files before could not be put back, so that the folder holds new ones beside old ones: {}",
                second.message
            )),
        }
    }

    /// Each to a new file first, then all renamed over the old ones.
    fn put(&self, folder: &Path, old: &Self) -> Result<(), Box<Diagnostic>> {
        let place = |source: &Source| (folder.join(&*source.name), folder.join(format!(".{}.new", source.name)));
        let unwritable = |path: &Path, error: std::io::Error| Box::new(unwritable(path, &error));
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
        let changed = self.policies.iter().filter(|source| !old.policies.contains(source));
        let changed: Vec<(PathBuf, PathBuf, &Source)> = changed
            .map(|source| (place(source), source))
            .filter(|((target, _), source)| !holds(target, &source.text))
            .map(|((target, fresh), source)| (target, fresh, source))
            .collect();
        let written = changed.iter().try_for_each(|(_, fresh, source)| {
            let written = fs::File::create(fresh).and_then(|mut file| {
                file.write_all(source.text.as_bytes())?;
                file.sync_all()
            });
            written.map_err(|error| unwritable(fresh, error))
        });
        let placed = written.and_then(|()| {
            changed
                .iter()
                .try_for_each(|(target, fresh, _)| fs::rename(fresh, target).map_err(|error| unwritable(target, error)))
        });
        if placed.is_err() {
            for (_, fresh, _) in &changed {
                let _ = fs::remove_file(fresh);
            }
        }
        placed?;
        let gone = old.policies.iter().filter(|old| !self.policies.iter().any(|source| source.name == old.name));
        // What was never renamed into place is not there, or is somebody else's folder.
        for (target, _) in gone.map(place).filter(|(target, _)| !target.is_dir()) {
            match fs::remove_file(&target) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(&target, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Every text, for excerpts.
    pub fn sources(&self) -> Vec<Source> {
        self.policies.iter().chain(&self.tenants).cloned().collect()
    }

    /// SHA-256 over the policies alone, in hex.
    pub fn policies_digest(&self) -> String {
        Self { tenants: None, ..self.clone() }.sum()
    }

    fn sum(&self) -> String {
        let mut hash = Sha256::new();
        for source in self.policies.iter().chain(&self.tenants) {
            hash.update((source.name.len() as u64).to_be_bytes());
            hash.update(source.name.as_bytes());
            hash.update((source.text.len() as u64).to_be_bytes());
            hash.update(source.text.as_bytes());
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn is_policy(path: &Path) -> bool {
    let name = file_name(path);
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !name.starts_with('.') && !is_test(path)
}

fn is_test(path: &Path) -> bool {
    let name = file_name(path);
    !name.starts_with('.') && (name.ends_with("_test.yaml") || name.ends_with("_test.yml"))
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn source(path: &Path) -> Result<Source, Box<Diagnostic>> {
    let length = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    let largest = if is_policy(path) { LARGEST as u64 } else { LARGEST_TENANTS };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if length > largest {
        return Err(Box::new(too_large(&name, largest)));
    }
    let expected = usize::try_from(length).unwrap_or(0);
    let text =
        undisturbed(|| stamp(path), || read_in_pieces(path, expected)).map_err(|error| unreadable(path, &error))?;
    Ok(Source { name: Arc::from(name), text: Arc::from(text) })
}

/// Reads what nobody writes to meanwhile: half of a file of tenants is a valid one too.
pub(super) fn undisturbed<S: PartialEq, T>(
    stamp: impl Fn() -> std::io::Result<S>,
    read: impl Fn() -> std::io::Result<T>,
) -> std::io::Result<T> {
    for _ in 0..READ_TRIES {
        let before = stamp()?;
        let text = read()?;
        if stamp()? == before {
            return Ok(text);
        }
        std::thread::sleep(READ_AGAIN_AFTER);
    }
    Err(std::io::Error::other("it changes while it is read"))
}

/// What differs when somebody has written to a file.
fn stamp(path: &Path) -> std::io::Result<(u64, SystemTime)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.len(), metadata.modified()?))
}

/// Reads a text. Between two pieces the thread can give way to others; within one, inside the kernel, it often cannot.
fn read_in_pieces(path: &Path, expected: usize) -> std::io::Result<String> {
    let (file, mut bytes) = (fs::File::open(path)?, Vec::with_capacity(expected.saturating_add(1)));
    while (&file).take(PIECE).read_to_end(&mut bytes)? > 0 {}
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E001", format!("`{}` cannot be read: {error}", path.display())))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("E001", format!("`{}` cannot be written: {error}", path.display()))
}

/// Whether a file has this text already.
fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|own| own == text)
}
