//! The values in a message, found in its `Debug` text: the only view of a message that names its fields.

use bytestring::ByteString;
use kavka_wire::{ErrorCode, Uuid};

use super::{hash, hash_bytes};

/// A value and where it stands: field names and array indexes, as `topics.0.partitions.1.offset`.
#[derive(Debug)]
pub(crate) struct Leaf {
    path: String,
    text: String,
}

impl Leaf {
    /// Whether the value is the one that Kafka's side made for this path; never so for a boolean, which has no room.
    pub(crate) fn is_hash_of_its_path(&self) -> bool {
        let h = hash(&self.path);
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&h.to_be_bytes());
        uuid[8..].copy_from_slice(&hash(&format!("{}#", self.path)).to_be_bytes());
        [
            (0x40 | (h & 0x3f)).to_string(),
            ((h | 0x4000) as i16).to_string(),
            ((h | 0x4000) as u16).to_string(),
            ((h | 0x4000_0000) as i32).to_string(),
            ((h | 0x4000_0000) as u32).to_string(),
            ((h | 1 << 62) as i64).to_string(),
            format!("{:?}", f64::from((h | 0x4000_0000) as i32)),
            format!("{:?}", ErrorCode((h | 0x4000) as i16)),
            format!("{:?}", Uuid(uuid)),
            format!("{:?}", ByteString::from(format!("\u{e9}{:08x}", h as u32))),
            format!("{:?}", hash_bytes(&self.path)),
        ]
        .contains(&self.text)
    }
}

/// Every value of a message but its unknown tagged fields.
pub(crate) fn leaves(text: &str) -> Vec<Leaf> {
    let mut walk = Walk { rest: text, leaves: Vec::new() };
    walk.value("");
    assert_eq!(walk.rest, "", "the text of a message is one value");
    walk.leaves
}

struct Walk<'t> {
    rest: &'t str,
    leaves: Vec<Leaf>,
}

impl Walk<'_> {
    fn value(&mut self, path: &str) {
        // A name, a number, or nothing before a bracket; text in quotes has its own end.
        let head = self.rest.find(['{', '(', '[', ',', '}', ')', ']', '"']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(head);
        match rest.chars().next() {
            Some('{') => {
                self.rest = &rest[1..];
                self.fields(path);
            }
            Some('(') if name == "Some" => {
                self.rest = &rest[1..];
                self.value(path);
                self.skip(")");
            }
            Some('(') => {
                self.rest = &rest[1..];
                self.items(path, ')');
            }
            Some('[') => {
                self.rest = &rest[1..];
                self.items(path, ']');
            }
            Some('"') => {
                let end = quoted(rest);
                self.leaf(path, head + end);
            }
            _ => self.leaf(path, head),
        }
    }

    fn leaf(&mut self, path: &str, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        self.leaves.push(Leaf { path: path.to_owned(), text: text.trim_end().to_owned() });
        self.rest = rest;
    }

    fn fields(&mut self, path: &str) {
        while !self.ends('}') {
            let colon = self.rest.find(": ").expect("a field has a name");
            // A field whose name is a keyword of Rust has an underscore at its end.
            let name = self.rest[..colon].trim_start().trim_end_matches('_');
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let unknown = name == "unknown_tagged_fields";
            self.rest = &self.rest[colon + 2..];
            let before = self.leaves.len();
            self.value(&inner);
            if unknown {
                self.leaves.truncate(before);
            }
        }
    }

    fn items(&mut self, path: &str, end: char) {
        for index in 0.. {
            if self.ends(end) {
                break;
            }
            self.value(&format!("{path}.{index}"));
        }
    }

    /// Passes over what separates values, and over the end if it is here.
    fn ends(&mut self, end: char) -> bool {
        self.rest = self.rest.trim_start_matches([' ', ',']);
        let here = self.rest.starts_with(end);
        if here {
            self.rest = &self.rest[1..];
        }
        here
    }

    fn skip(&mut self, text: &str) {
        self.rest = self.rest.strip_prefix(text).expect("brackets match");
    }
}

/// The length of a quoted text, quotes included.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    panic!("no closing quote: {text}")
}
