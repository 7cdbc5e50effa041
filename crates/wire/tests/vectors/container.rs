//! The file of vectors; its README describes it.

use std::fmt;

use bytes::{Buf, Bytes};

/// What a vector's message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// Every field its default.
    Default,
    /// Every field of the version set, arrays of two.
    Full,
    /// Null where allowed, else no elements, no characters, no bytes.
    Empty,
    /// As `Empty`, but arrays of structs have one element.
    Sparse,
    /// As `Full`, with an unknown tagged field in every struct.
    Tagged,
}

/// One message as Kafka writes it.
pub(crate) struct Vector {
    /// The message's name, as `FetchRequest`.
    pub(crate) name: String,
    pub(crate) version: i16,
    pub(crate) variant: Variant,
    /// How many values are a hash of their path; booleans do not count.
    pub(crate) leaves: usize,
    pub(crate) bytes: Bytes,
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}, {:?}", self.name, self.version, self.variant)
    }
}

/// Every vector of the file.
pub(crate) fn messages() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol-specs/vectors/messages.bin");
    let mut file = Bytes::from(std::fs::read(path).unwrap());
    let mut vectors = Vec::new();
    while file.has_remaining() {
        let name_length = usize::from(file.get_u8());
        let name = String::from_utf8(file.split_to(name_length).to_vec()).unwrap();
        let version = file.get_i16();
        let variant = match file.get_u8() {
            0 => Variant::Default,
            1 => Variant::Full,
            2 => Variant::Empty,
            3 => Variant::Sparse,
            4 => Variant::Tagged,
            other => panic!("{name}: variant {other}"),
        };
        let leaves = usize::from(file.get_u16());
        let length = usize::try_from(file.get_u32()).unwrap();
        vectors.push(Vector { name, version, variant, leaves, bytes: file.split_to(length) });
    }
    vectors
}
