use bytes::Bytes;

/// Tagged fields that this version of the schema does not know, kept so that a message read and written again loses
/// nothing (KIP-482). Ordered by tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaggedFields(Vec<(u32, Bytes)>);

impl TaggedFields {
    /// Sets the value of a tag.
    pub fn insert(&mut self, tag: u32, value: Bytes) {
        match self.0.binary_search_by_key(&tag, |(tag, _)| *tag) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (tag, value)),
        }
    }

    /// Adds a tag that is higher than all the others; the reader sees to it that it is.
    pub(crate) fn push(&mut self, tag: u32, value: Bytes) {
        self.0.push((tag, value));
    }

    /// The value of a tag.
    pub fn get(&self, tag: u32) -> Option<&Bytes> {
        self.0.binary_search_by_key(&tag, |(tag, _)| *tag).ok().map(|at| &self.0[at].1)
    }

    /// The fields in the order of their tags.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.0.iter().map(|(tag, value)| (*tag, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
