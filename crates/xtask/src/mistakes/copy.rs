//! The copy of the sources into which mistakes are written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The module that the lowest crate has in the copy only.
pub(crate) const SWITCH: &str = "mistakes";

/// What a build of the tests, and the tests themselves, read.
const PARTS: [&str; 6] = ["Cargo.toml", "Cargo.lock", "crates", "tests", "protocol-specs", "fuzz/corpus"];

const LOWEST: &str = "crates/wire/src";

/// What is compiled in the copy only.
const ONLY_HERE: &str = "#[cfg(mistakes)]\n";

/// A copy, which nobody else changes meanwhile.
pub(crate) struct Copy {
    pub(crate) dir: PathBuf,
    /// Where it is built.
    pub(crate) built: PathBuf,
    _lock: File,
}

impl Copy {
    /// Waits until nobody else uses the copy.
    pub(crate) fn lock(target: &Path) -> Result<Copy, String> {
        let folder = target.join("mistakes");
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Copy { dir: folder.join("tree"), built: folder.join("built"), _lock: lock })
    }

    /// Brings the copy up to the sources, with these files in place of the ones of the same name. What does not change is not touched, so
    /// that cargo does not build it again.
    pub(crate) fn update(&self, root: &Path, changed: &BTreeMap<String, String>) -> Result<(), String> {
        let mut files = BTreeMap::new();
        for part in PARTS {
            collect(root, Path::new(part), &mut files)?;
        }
        for (path, text) in changed {
            files.insert(path.into(), text.clone().into_bytes());
        }
        files.insert(Path::new(LOWEST).join(format!("{SWITCH}.rs")), include_bytes!("switch.rs").to_vec());
        let lowest = files.get_mut(&Path::new(LOWEST).join("lib.rs")).ok_or("crates/wire has no lib.rs")?;
        lowest.extend(format!("\n#[doc(hidden)]\npub mod {SWITCH};\n").bytes());
        for (path, bytes) in &mut files {
            if path.extension().is_some_and(|extension| extension == "rs")
                && let Ok(text) = std::str::from_utf8(bytes)
                && text.contains(ONLY_HERE)
            {
                *bytes = text.replace(ONLY_HERE, "").into_bytes();
            }
        }
        self.remove_others(Path::new(""), &files)?;
        for (path, bytes) in &files {
            let path = self.dir.join(path);
            if fs::read(&path).is_ok_and(|there| there == *bytes) {
                continue;
            }
            let folder = path.parent().unwrap_or(&self.dir);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, bytes))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Removes what the sources do not have any more.
    fn remove_others(&self, folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
        let full = self.dir.join(folder);
        if !full.is_dir() {
            return Ok(());
        }
        for (path, is_folder) in entries(&self.dir, folder)? {
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            if is_folder {
                self.remove_others(&path, files)?;
            } else if !files.contains_key(&path) {
                fs::remove_file(self.dir.join(&path)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn collect(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let full = root.join(path);
    if full.is_dir() {
        for (path, _) in entries(root, path)? {
            collect(root, &path, files)?;
        }
        return Ok(());
    }
    let bytes = fs::read(&full).map_err(|error| format!("{}: {error}", full.display()))?;
    files.insert(path.to_owned(), bytes);
    Ok(())
}

/// What is in a folder below a root, and whether it is a folder itself.
fn entries(root: &Path, folder: &Path) -> Result<Vec<(PathBuf, bool)>, String> {
    let full = root.join(folder);
    let failed = |error: std::io::Error| format!("{}: {error}", full.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(&full).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() != "target" {
            entries.push((folder.join(entry.file_name()), entry.file_type().map_err(failed)?.is_dir()));
        }
    }
    Ok(entries)
}
