//! The verbs about policies as they are called: the binary, files in a folder, a gateway that runs.

mod explain;
mod plan;
mod print;

mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of policies of its own.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run wrote, and how it ended.
pub(crate) struct Ran {
    pub code: i32,
    pub out: String,
    pub note: String,
}

impl Folder {
    /// With these files in it.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `plimsoll …` in the folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.path(), arguments)
    }
}

/// Runs `plimsoll …` in a folder.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .current_dir(folder)
        .args(arguments)
        .env("PLIMSOLL_ADMIN_TOKEN", crate::harness::ADMIN_TOKEN)
        .env_remove("PLIMSOLL_LOG")
        .output()
        .expect("a run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").trim_end().to_owned();
    Ran { code: output.status.code().expect("an exit code"), out: text(output.stdout), note: text(output.stderr) }
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
