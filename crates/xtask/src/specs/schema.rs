//! The message schemas inside a Kafka jar: JSON with line comments.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

/// A message as Kafka describes it, reduced to what the wire depends on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Schema {
    pub(crate) api_key: Option<i16>,
    pub(crate) name: String,
    pub(crate) valid_versions: String,
    pub(crate) flexible_versions: Option<String>,
    #[serde(default)]
    pub(crate) fields: Vec<SchemaField>,
    #[serde(default)]
    pub(crate) common_structs: Vec<SchemaStruct>,
}

/// A struct that several fields share.
#[derive(Debug, Deserialize)]
pub(crate) struct SchemaStruct {
    pub(crate) name: String,
    pub(crate) fields: Vec<SchemaField>,
}

/// One field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SchemaField {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: String,
    pub(crate) versions: String,
    pub(crate) nullable_versions: Option<String>,
    pub(crate) tagged_versions: Option<String>,
    pub(crate) flexible_versions: Option<String>,
    pub(crate) tag: Option<u32>,
    #[serde(default)]
    pub(crate) ignorable: bool,
    pub(crate) default: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) fields: Vec<SchemaField>,
}

/// Every schema in the jar, by name.
pub(crate) fn read_jar(path: &Path) -> Result<BTreeMap<String, Schema>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut jar = zip::ZipArchive::new(file).map_err(|e| format!("{}: {e}", path.display()))?;
    let names: Vec<String> = jar
        .file_names()
        .filter_map(|name| name.ok().map(String::from))
        .filter(|name| name.starts_with("common/message/") && name.ends_with(".json"))
        .collect();
    if names.is_empty() {
        return Err(format!("{} holds no message schemas: is it a kafka-clients jar?", path.display()));
    }
    let mut schemas = BTreeMap::new();
    for name in names {
        let mut text = String::new();
        jar.by_name(&name)
            .map_err(|e| format!("{name}: {e}"))?
            .read_to_string(&mut text)
            .map_err(|e| format!("{name}: {e}"))?;
        let schema: Schema =
            serde_json::from_str(&without_comments(&text)).map_err(|e| format!("{name}: {e}"))?;
        schemas.insert(schema.name.clone(), schema);
    }
    Ok(schemas)
}

/// Blanks `// …` outside strings.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (mut in_string, mut escaped, mut end) = (false, false, line.len());
        for (index, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                '/' if !in_string && line[index..].starts_with("//") => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_and_strings_stay() {
        assert_eq!(without_comments("a // b\n\"c//d\" // e"), "a \n\"c//d\" \n");
    }
}
