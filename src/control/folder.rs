//! The policies' folder as texts: every `*.yaml` once, without `*_test.yaml`, and `tenants.csv`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::diagnostic::{Diagnostic, Source};

/// The largest file that is read.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

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

    /// The same with another policy text: in place of the only policy file, else of `policy.yaml`.
    pub fn with_policy(mut self, text: &str) -> Self {
        let name = self.policy_name();
        let source = Source { name: Arc::clone(&name), text: Arc::from(text) };
        match self.policies.iter_mut().find(|other| other.name == name) {
            Some(other) => *other = source,
            None => self.policies.push(source),
        }
        self.digest = self.sum();
        self
    }

    fn policy_name(&self) -> Arc<str> {
        match self.policies.as_slice() {
            [only] => Arc::clone(&only.name),
            _ => Arc::from("policy.yaml"),
        }
    }

    /// Writes the policy that `with_policy` took: to a new file, then renamed over the old.
    pub fn write_policy(&self, folder: &Path) -> Result<(), Box<Diagnostic>> {
        let name = self.policy_name();
        let Some(source) = self.policies.iter().find(|source| source.name == name) else { return Ok(()) };
        let target = folder.join(&*name);
        let fresh = folder.join(format!(".{name}.new"));
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = fs::File::create(&fresh)?;
            file.write_all(source.text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &target)
        });
        written.map_err(|error| unreadable(&target, &error))
    }

    /// Every text, for excerpts.
    pub fn sources(&self) -> Vec<Source> {
        self.policies.iter().chain(&self.tenants).cloned().collect()
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
    if length > LARGEST_FILE {
        return Err(Box::new(Diagnostic::error("E002", format!("`{}` is larger than 16 MiB", path.display()))));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Source { name: Arc::from(name), text: Arc::from(text) })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error("E001", format!("`{}` cannot be read: {error}", path.display())))
}
