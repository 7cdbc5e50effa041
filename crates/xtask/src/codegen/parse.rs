//! Reads one specification file into the model.

use super::model::{Field, Kind, Message, Spec, Struct, Type, Versions};

struct Line<'a> {
    number: usize,
    indent: usize,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn error(&self, what: impl std::fmt::Display) -> String {
        format!("line {}: {what}", self.number)
    }
}

/// Parses the text of one specification.
pub(super) fn parse(text: &str) -> Result<Spec, String> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let content = raw.split('#').next().unwrap_or_default();
        if content.trim().is_empty() {
            continue;
        }
        let spaces = content.len() - content.trim_start().len();
        let line =
            Line { number: index + 1, indent: spaces / 2, words: content.split_whitespace().collect() };
        if spaces % 2 != 0 {
            return Err(line.error("indentation is two spaces a level"));
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter().peekable();
    let head = lines.next().ok_or("the file is empty")?;
    let (key, name) = match head.words[..] {
        ["api", key, name] => (Some(key.parse::<i16>().map_err(|e| head.error(e))?), name.to_owned()),
        ["data", name] => (None, name.to_owned()),
        _ => return Err(head.error("a file starts with `api KEY NAME` or `data NAME`")),
    };
    let mut spec = Spec { key, name, messages: Vec::new() };
    while let Some(line) = lines.next() {
        if line.indent != 0 {
            return Err(line.error("expected `request`, `response` or `versions`"));
        }
        let mut body = Vec::new();
        while let Some(next) = lines.next_if(|next| next.indent > 0) {
            body.push(next);
        }
        spec.messages.push(message(&spec.name, &line, &body)?);
    }
    Ok(spec)
}

fn message(name: &str, head: &Line<'_>, body: &[Line<'_>]) -> Result<Message, String> {
    let (kind, suffix) = match head.words[0] {
        "request" => (Kind::Request, "Request"),
        "response" => (Kind::Response, "Response"),
        "versions" => (Kind::Data, ""),
        other => return Err(head.error(format!("unknown section `{other}`"))),
    };
    let text = head.words.get(1).ok_or_else(|| head.error("versions are missing"))?;
    let versions = Versions::parse(text, i16::MAX)
        .filter(|v| v.max < i16::MAX)
        .ok_or_else(|| head.error("a message needs closed versions, as `0-3`"))?;
    let flexible = match head.words[2..] {
        [] => None,
        ["flexible", since] => {
            Some(Versions::parse(since, versions.max).ok_or_else(|| head.error("bad flexible versions"))?.min)
        }
        _ => return Err(head.error("after the versions only `flexible N+` may follow")),
    };
    let root = Struct { name: format!("{name}{suffix}"), versions, fields: Vec::new() };
    let mut parser = Parser { lines: body, at: 0, structs: vec![root] };
    parser.fields(0, 1, versions)?;
    if let Some(line) = parser.lines.get(parser.at) {
        return Err(line.error("unexpected indentation"));
    }
    let message = Message { kind, versions, flexible, structs: parser.structs };
    check(&message).map_err(|e| head.error(e))?;
    Ok(message)
}

struct Parser<'a> {
    lines: &'a [Line<'a>],
    at: usize,
    structs: Vec<Struct>,
}

impl Parser<'_> {
    /// Reads the fields at `indent` into struct number `owner`.
    fn fields(&mut self, owner: usize, indent: usize, scope: Versions) -> Result<(), String> {
        while let Some(line) = self.lines.get(self.at).filter(|line| line.indent == indent) {
            self.at += 1;
            if line.words[0] == "struct" {
                let name = line.words.get(1).ok_or_else(|| line.error("a struct needs a name"))?;
                let versions = match line.words.get(2) {
                    Some(text) => {
                        Versions::parse(text, scope.max).ok_or_else(|| line.error("bad versions"))?
                    }
                    None => scope,
                };
                self.definition(name, indent, versions)?;
                continue;
            }
            let field = field(line, scope)?;
            let nested = self.lines.get(self.at).is_some_and(|next| next.indent == indent + 1);
            match &field.ty {
                Type::Struct(name) if nested => self.definition(name, indent, field.versions)?,
                _ if nested => return Err(line.error("only a struct has fields of its own")),
                _ => {}
            }
            self.structs[owner].fields.push(field);
        }
        Ok(())
    }

    fn definition(&mut self, name: &str, indent: usize, versions: Versions) -> Result<(), String> {
        if self.structs.iter().any(|s| s.name == name) {
            return Err(format!("struct {name} is defined twice"));
        }
        self.structs.push(Struct { name: name.to_owned(), versions, fields: Vec::new() });
        self.fields(self.structs.len() - 1, indent + 1, versions)
    }
}

fn field(line: &Line<'_>, scope: Versions) -> Result<Field, String> {
    let [name, ty, ref rest @ ..] = line.words[..] else {
        return Err(line.error("a field is `NAME TYPE [VERSIONS] [ATTRIBUTE…]`"));
    };
    let mut rest = rest.iter().copied().peekable();
    let ranged = rest.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let versions = match ranged {
        Some(text) => Versions::parse(text, scope.max)
            .filter(|v| v.min >= scope.min && v.max <= scope.max)
            .ok_or_else(|| line.error(format!("versions `{text}` are not inside {scope}")))?,
        None => scope,
    };
    let (ty, nullable) = match ty.split_once('?') {
        Some((ty, "")) => (ty, Some(versions)),
        Some((ty, text)) => {
            let nullable = Versions::parse(text, versions.max);
            (ty, Some(nullable.ok_or_else(|| line.error("bad nullable versions"))?))
        }
        None => (ty, None),
    };
    let (array, ty) = match ty.strip_prefix("[]") {
        Some(element) => (true, element),
        None => (false, ty),
    };
    let ty = scalar(ty).ok_or_else(|| line.error(format!("unknown type `{ty}`")))?;
    let mut field = Field {
        name: name.to_owned(),
        ty,
        array,
        versions,
        nullable,
        tag: None,
        default: None,
        ignorable: false,
        inflexible: false,
    };
    while let Some(word) = rest.next() {
        match word {
            "ignorable" => field.ignorable = true,
            "inflexible" => field.inflexible = true,
            "=" => {
                field.default =
                    Some(rest.next().ok_or_else(|| line.error("a default is missing"))?.to_owned())
            }
            "tag" => {
                let tag = rest.next().and_then(|t| t.parse().ok()).ok_or_else(|| line.error("bad tag"))?;
                let tagged = rest.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()));
                let tagged = tagged.and_then(|text| Versions::parse(text, versions.max)).unwrap_or(versions);
                field.tag = Some((tag, tagged));
            }
            other => return Err(line.error(format!("unknown attribute `{other}`"))),
        }
    }
    Ok(field)
}

fn scalar(ty: &str) -> Option<Type> {
    Some(match ty {
        "bool" => Type::Bool,
        "i8" => Type::I8,
        "i16" => Type::I16,
        "i32" => Type::I32,
        "i64" => Type::I64,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "f64" => Type::F64,
        "uuid" => Type::Uuid,
        "error" => Type::Error,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Struct(name.to_owned()),
        _ => return None,
    })
}

/// What the generator relies on and the grammar alone does not promise.
fn check(message: &Message) -> Result<(), String> {
    for owner in &message.structs {
        for field in &owner.fields {
            let place = format!("{}.{}", owner.name, field.name);
            if let Type::Struct(name) = &field.ty
                && !message.structs.iter().any(|s| &s.name == name)
            {
                return Err(format!("{place}: struct {name} is not defined"));
            }
            let flexible = message.flexible.unwrap_or(i16::MAX);
            if field
                .tag
                .is_some_and(|(_, tagged)| tagged.min < flexible || tagged.max != message.versions.max)
            {
                return Err(format!("{place}: a tag needs flexible versions without an end"));
            }
            if owner.fields.iter().filter(|other| other.name == field.name).count() > 1 {
                return Err(format!("{place}: the field is there twice"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
api 99 Sample   # a comment
request 1-4 flexible 3+
  name string?2+ 1-2 = null ignorable
  parts []Part
    id i32 = -1
    note string? 3+ tag 0 = null
response 1-4 flexible 3+
  error_code error
";

    #[test]
    fn reads_versions_nullability_defaults_and_tags() {
        let spec = parse(SAMPLE).unwrap();
        assert_eq!(spec.key, Some(99));
        let request = &spec.messages[0];
        assert_eq!(request.flexible, Some(3));
        let name = &request.structs[0].fields[0];
        assert_eq!(name.versions, Versions { min: 1, max: 2 });
        assert_eq!(name.nullable, Some(Versions { min: 2, max: 2 }));
        assert!(name.ignorable);
        let note = &request.structs[1].fields[1];
        assert_eq!(note.tag, Some((0, Versions { min: 3, max: 4 })));
        assert_eq!(note.default.as_deref(), Some("null"));
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        for (text, line) in [
            ("api 1 A\nrequest 0\n  x i33\n", "line 3"),
            ("api 1 A\nrequest 0\n   x i32\n", "line 3"),
            ("api 1 A\nrequest 0\n  x i32 1+\n", "line 3"),
            ("api 1 A\nrequest 0+\n", "line 2"),
            ("api 1 A\nrequest 0\n  x Missing\n", "line 2"),
            ("api 1 A\nrequest 0\n  x i32 tag 0\n", "line 2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(line), "{error}");
        }
    }
}
