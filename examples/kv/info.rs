//! The text of `INFO`.

use bytes::Bytes;

use crate::resp::Reply;

/// A section: its name as its heading shows it, and its fields in order.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// For example `Memory`.
    pub(crate) name: &'static str,
    /// For example `used_memory` and `1024`.
    pub(crate) fields: Vec<(&'static str, String)>,
}

/// The sections that are wanted, by name in any case; all of them if none is named, or `all`, `default` or `everything`
/// is. Names that no section has are passed over, as Redis does.
pub(crate) fn render(sections: &[Section], wanted: &[Bytes]) -> Reply {
    let is = |word: &Bytes, name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let all = wanted.is_empty()
        || wanted.iter().any(|word| ["all", "default", "everything"].iter().any(|every| is(word, every)));
    let mut text = String::new();
    for section in sections.iter().filter(|section| all || wanted.iter().any(|word| is(word, section.name))) {
        if !text.is_empty() {
            text += "\r\n";
        }
        text += &format!("# {}\r\n", section.name);
        for (name, value) in &section.fields {
            text += &format!("{name}:{value}\r\n");
        }
    }
    Reply::Text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_shown_as_asked_for() {
        let section = |name, field, value: &str| Section { name, fields: vec![(field, value.into())] };
        let sections = [section("Server", "redis_version", "7"), section("Memory", "used_memory", "12")];
        let show = |wanted: &[&'static str]| {
            let wanted: Vec<Bytes> = wanted.iter().copied().map(Bytes::from).collect();
            let Reply::Text(text) = render(&sections, &wanted) else { panic!("INFO is a text") };
            text
        };
        let both = "# Server\r\nredis_version:7\r\n\r\n# Memory\r\nused_memory:12\r\n";
        assert_eq!(show(&[]), both);
        assert_eq!(show(&["server", "ALL"]), both);
        assert_eq!(show(&["memory", "nope"]), "# Memory\r\nused_memory:12\r\n");
        assert_eq!(show(&["nope"]), "");
    }
}
