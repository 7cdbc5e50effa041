//! Compares one message of ours with Kafka's schema of the same name.

use super::schema::{Schema, SchemaField};
use crate::codegen::model::{Field, Kind, Message, Spec, Struct, Type, Versions};
use crate::codegen::snake_case;

/// Appends what differs and returns how many fields were compared.
pub(crate) fn message(
    spec: &Spec,
    message: &Message,
    schema: &Schema,
    differences: &mut Vec<String>,
) -> usize {
    let mut comparison = Comparison { message, schema, differences, fields: 0 };
    let name = message.name();
    if message.kind != Kind::Data && spec.key != schema.api_key {
        comparison.differ(name, "key", format!("{:?}", spec.key), format!("{:?}", schema.api_key));
    }
    let Some(valid) = Versions::parse(&schema.valid_versions, i16::MAX) else {
        comparison.differ(name, "versions", message.versions.to_string(), schema.valid_versions.clone());
        return 0;
    };
    if message.versions != valid {
        comparison.differ(name, "versions", message.versions.to_string(), valid.to_string());
        return 0;
    }
    let flexible = range(schema.flexible_versions.as_deref(), valid).map(|v| v.min);
    if message.flexible != flexible {
        comparison.differ(name, "flexible", format!("{:?}", message.flexible), format!("{flexible:?}"));
    }
    comparison.structs(name, &message.structs[0], &schema.fields, valid);
    comparison.fields
}

struct Comparison<'a> {
    message: &'a Message,
    schema: &'a Schema,
    differences: &'a mut Vec<String>,
    fields: usize,
}

/// Versions of a schema inside `scope`; `none` and versions outside it are nothing.
fn range(text: Option<&str>, scope: Versions) -> Option<Versions> {
    Versions::parse(text?, i16::MAX)?.intersect(scope)
}

impl Comparison<'_> {
    fn differ(&mut self, place: &str, what: &str, ours: String, theirs: String) {
        self.differences.push(format!("{place}: {what}: ours {ours}, Kafka's {theirs}"));
    }

    fn structs(&mut self, place: &str, ours: &Struct, theirs: &[SchemaField], scope: Versions) {
        let theirs: Vec<(&SchemaField, Versions)> = theirs
            .iter()
            .filter_map(|f| range(Some(&f.versions), scope).map(|versions| (f, versions)))
            .collect();
        let our_names: Vec<String> = ours.fields.iter().map(|f| f.name.clone()).collect();
        let their_names: Vec<String> = theirs.iter().map(|(f, _)| snake_case(&f.name)).collect();
        if our_names != their_names {
            return self.differ(place, "fields", our_names.join(" "), their_names.join(" "));
        }
        for (ours, (theirs, versions)) in ours.fields.iter().zip(theirs) {
            self.field(&format!("{place}.{}", ours.name), ours, theirs, versions);
        }
    }

    fn field(&mut self, place: &str, ours: &Field, theirs: &SchemaField, versions: Versions) {
        self.fields += 1;
        if ours.versions != versions {
            self.differ(place, "versions", ours.versions.to_string(), versions.to_string());
        }
        let nullable = range(theirs.nullable_versions.as_deref(), versions);
        if ours.nullable != nullable {
            self.differ(place, "nullable", format!("{:?}", ours.nullable), format!("{nullable:?}"));
        }
        let tag = theirs.tag.zip(range(theirs.tagged_versions.as_deref(), versions));
        if ours.tag != tag {
            self.differ(place, "tag", format!("{:?}", ours.tag), format!("{tag:?}"));
        }
        if ours.ignorable != theirs.ignorable {
            self.differ(place, "ignorable", ours.ignorable.to_string(), theirs.ignorable.to_string());
        }
        let inflexible = theirs.flexible_versions.as_deref() == Some("none");
        if ours.inflexible != inflexible {
            self.differ(place, "inflexible", ours.inflexible.to_string(), inflexible.to_string());
        }
        let (our_default, their_default) = (default(ours), their_default(theirs));
        if our_default != their_default {
            self.differ(place, "default", our_default, their_default);
        }
        let (array, element) = match theirs.ty.strip_prefix("[]") {
            Some(element) => (true, element),
            None => (false, theirs.ty.as_str()),
        };
        if ours.array != array || !same_type(&ours.ty, element) {
            return self.differ(place, "type", format!("{:?}", ours.ty), theirs.ty.clone());
        }
        if let Type::Struct(name) = &ours.ty {
            self.nested(place, name, element, theirs, versions);
        }
    }

    fn nested(&mut self, place: &str, ours: &str, theirs: &str, field: &SchemaField, versions: Versions) {
        let Some(ours) = self.message.structs.iter().find(|s| s.name == ours) else { return };
        if !field.fields.is_empty() {
            return self.structs(place, ours, &field.fields, versions);
        }
        // A shared struct: its fields' versions stand on their own, so they are compared in the struct's whole range.
        let schema = self.schema;
        match schema.common_structs.iter().find(|s| s.name == theirs) {
            Some(common) => self.structs(place, ours, &common.fields, ours.versions),
            None => self.differ(place, "struct", ours.name.clone(), "not defined".to_owned()),
        }
    }
}

fn same_type(ours: &Type, theirs: &str) -> bool {
    match ours {
        Type::Bool => theirs == "bool",
        Type::I8 => theirs == "int8",
        Type::I16 | Type::Error => theirs == "int16",
        Type::I32 => theirs == "int32",
        Type::I64 => theirs == "int64",
        Type::U16 => theirs == "uint16",
        Type::U32 => theirs == "uint32",
        Type::F64 => theirs == "float64",
        Type::Uuid => theirs == "uuid",
        Type::String => theirs == "string",
        Type::Bytes => theirs == "bytes",
        Type::Records => theirs == "records",
        Type::Struct(_) => theirs.starts_with(|c: char| c.is_ascii_uppercase()),
    }
}

/// A default in one spelling: what Kafka assumes when nothing is said is the empty text.
fn spelling(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "" | "0" | "0.0" | "false" => String::new(),
        hex if hex.starts_with("0x") => {
            i64::from_str_radix(&hex[2..], 16).map_or(hex.to_owned(), |v| v.to_string())
        }
        other => other.to_owned(),
    }
}

fn default(ours: &Field) -> String {
    spelling(ours.default.as_deref().unwrap_or_default())
}

fn their_default(theirs: &SchemaField) -> String {
    match &theirs.default {
        None => String::new(),
        Some(serde_json::Value::String(text)) => spelling(text),
        Some(value) => spelling(&value.to_string()),
    }
}
