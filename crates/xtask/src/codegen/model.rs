//! The protocol specifications (`protocol-specs/**/*.spec`) as a model. The grammar is in `protocol-specs/README.md`.

use std::fmt;
use std::path::Path;

/// A closed range of message versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    /// The versions in both ranges, if there are any.
    pub(crate) fn intersect(self, other: Versions) -> Option<Versions> {
        let both = Versions { min: self.min.max(other.min), max: self.max.min(other.max) };
        (both.min <= both.max).then_some(both)
    }

    /// Reads `3`, `3-5` or `3+`; the open end is `limit`.
    pub(crate) fn parse(text: &str, limit: i16) -> Option<Versions> {
        let versions = if let Some(min) = text.strip_suffix('+') {
            Versions { min: min.parse().ok()?, max: limit }
        } else if let Some((min, max)) = text.split_once('-') {
            Versions { min: min.parse().ok()?, max: max.parse().ok()? }
        } else {
            let only = text.parse().ok()?;
            Versions { min: only, max: only }
        };
        (0 <= versions.min && versions.min <= versions.max).then_some(versions)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

/// The element type of a field; `Field::array` says whether the field is an array of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U16,
    U32,
    F64,
    Uuid,
    /// An `i16` that holds an error code.
    Error,
    String,
    Bytes,
    Records,
    Struct(String),
}

/// One field of a struct.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) array: bool,
    /// Versions that carry the field, inside those of the enclosing struct.
    pub(crate) versions: Versions,
    /// Versions in which the field may be null.
    pub(crate) nullable: Option<Versions>,
    /// Tag, and the versions in which the field is written as a tagged field.
    pub(crate) tag: Option<(u32, Versions)>,
    /// The value of the field where a version does not carry it, as written in the spec.
    pub(crate) default: Option<String>,
    /// Whether a set value may be dropped silently by a version that cannot carry it.
    pub(crate) ignorable: bool,
    /// Whether the field keeps the old length encoding in flexible versions.
    pub(crate) inflexible: bool,
}

/// A named struct with its fields; the first struct of a message is the message itself.
#[derive(Debug, Clone)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Data,
}

/// One message: its root struct first, then the structs it uses in the order of their definition.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) versions: Versions,
    /// The first flexible version, if any version is.
    pub(crate) flexible: Option<i16>,
    pub(crate) structs: Vec<Struct>,
}

impl Message {
    pub(crate) fn name(&self) -> &str {
        &self.structs[0].name
    }
}

/// One specification file: an API with a request and a response, or a single data message.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) key: Option<i16>,
    pub(crate) name: String,
    pub(crate) messages: Vec<Message>,
}

/// Reads every specification below `dir`, sorted by file name.
pub(crate) fn load(dir: &Path) -> Result<Vec<Spec>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut files: Vec<_> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "spec"));
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            super::parse::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
        })
        .collect()
}
