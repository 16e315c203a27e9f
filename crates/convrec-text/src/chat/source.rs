//! The source of a template, made ready for the engine.

/// The source as `jinja2` reads it. Line ends become line feeds. `{% generation %}` blocks become
/// transparent; `transformers` uses them to find the assistant's tokens.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = &*source;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => end_of(rest, "}}"),
            Some(b'%') => end_of(rest, "%}"),
            _ => 1,
        };
        let (tag, behind) = rest.split_at(length);
        rest = behind;
        match keyword(tag) {
            // The block has a scope of its own, as in `transformers`.
            Some("generation") => out.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => {
                let (raw, behind) = rest.split_at(rest.find("endraw").unwrap_or(rest.len()));
                out.push_str(tag);
                out.push_str(raw);
                rest = behind;
            }
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out
}

/// The only word of a statement.
fn keyword(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

/// The length of a tag that ends in `close`, which may also stand in its string literals.
fn end_of(tag: &str, close: &str) -> usize {
    let (bytes, close) = (tag.as_bytes(), close.as_bytes());
    let (mut at, mut quote) = (2, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, _) if bytes[at..].starts_with(close) => return at + close.len(),
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_are_changed() {
        let same = [
            "{# {% generation %} #}",
            "{{ '{% generation %}' }}",
            "{{ \"%}\\\"{% generation %}\" }}",
            "{% raw %}{% generation %}{% endraw %}",
            "{% if generation %}{ generation }{% endif %}",
            "{% generation",
            "é{",
        ];
        for source in same {
            assert_eq!(prepare(source), source);
        }
        assert_eq!(
            prepare("a\r\n{%- generation -%}\rb{% endgeneration%}"),
            "a\n{%- with -%}\nb{% endwith%}"
        );
    }
}
