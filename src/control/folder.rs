//! The policies' folder as texts: every `*.yaml` once, without `*_test.yaml`, and `tenants.csv`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Source};
use crate::policy::tree::{LARGEST, too_large};

/// The largest `tenants.csv` that is read: some 200,000 rows.
const LARGEST_TENANTS: u64 = 16 << 20;

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

    /// Writes the policies that differ from `old`: each to a new file first, then all renamed over the old ones. A policy
    /// that is no longer among them is deleted.
    pub fn write(&self, folder: &Path, old: &Self) -> Result<(), Box<Diagnostic>> {
        fs::create_dir_all(folder).map_err(|error| unreadable(folder, &error))?;
        let changed: Vec<&Source> = self.policies.iter().filter(|source| !old.policies.contains(source)).collect();
        let fresh = |source: &Source| folder.join(format!(".{}.new", source.name));
        for source in &changed {
            let path = fresh(source);
            let written = fs::File::create(&path).and_then(|mut file| {
                file.write_all(source.text.as_bytes())?;
                file.sync_all()
            });
            written.map_err(|error| unreadable(&path, &error))?;
        }
        for source in changed {
            let target = folder.join(&*source.name);
            fs::rename(fresh(source), &target).map_err(|error| unreadable(&target, &error))?;
        }
        for gone in old.policies.iter().filter(|old| !self.policies.iter().any(|source| source.name == old.name)) {
            let target = folder.join(&*gone.name);
            fs::remove_file(&target).map_err(|error| unreadable(&target, &error))?;
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
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(Source { name: Arc::from(name), text: Arc::from(text) })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E001", format!("`{}` cannot be read: {error}", path.display())))
}
