//! Documents as they are read from whole texts.

use super::{Document, Limits, Node, Problem, Scalar, Source, parse};

fn read(text: &str) -> Result<Document, Problem> {
    parse(&Source::new("test.yaml", text), &Limits::default())
}

fn root(text: &str) -> Node {
    read(text).unwrap().root().unwrap().clone()
}

/// The tree in one line, for comparison.
fn shown(node: &Node) -> String {
    if let Some(elements) = node.as_sequence() {
        return format!(
            "[{}]",
            elements.iter().map(shown).collect::<Vec<_>>().join(", ")
        );
    }
    if let Some(mapping) = node.as_mapping() {
        let pairs = mapping
            .pairs()
            .iter()
            .map(|(key, value)| format!("{}: {}", shown(key), shown(value)));
        return format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "));
    }
    match node.scalar().unwrap() {
        Scalar::Text(text) => format!("{text:?}"),
        Scalar::Int(value) => value.to_string(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Float(value) => format!("{value:?}"),
        Scalar::Null => "null".to_owned(),
        Scalar::Binary(text) => format!("binary {text}"),
    }
}

fn problem(text: &str) -> (u32, u32, String) {
    let problem = read(text).unwrap_err();
    (problem.line, problem.column, problem.message)
}

#[test]
fn scalars_sequences_and_mappings_are_read_with_their_types() {
    let text = "a: [1, '1', x]\nb:\n  - yes\n  - ~\n  - 1.5\nc: {d: !!str 7, e: !!int '7', f: !!binary aGk=}\ng:\n";
    assert_eq!(
        shown(&root(text)),
        r#"{"a": [1, "1", "x"], "b": [true, null, 1.5], "c": {"d": "7", "e": 7, "f": binary aGk=}, "g": null}"#
    );
}

#[test]
fn every_node_knows_its_place() {
    let document = root("# comment\ndomain: edge\nlist:\n  - kéy: 'val'\n");
    let span = |node: &Node| {
        (
            node.span().line(),
            node.span().column(),
            node.span().bytes(),
        )
    };
    assert_eq!(span(document.get("domain").unwrap()), (2, 9, 18..22));
    let element = &document.get("list").unwrap().as_sequence().unwrap()[0];
    assert_eq!(span(element), (4, 5, 33..33));
    let (key, value) = &element.as_mapping().unwrap().pairs()[0];
    assert_eq!(span(key), (4, 5, 33..37));
    assert_eq!(span(value), (4, 10, 39..44));
}

#[test]
fn a_file_without_a_document_has_no_root() {
    for text in ["", "\n\n", "# only a comment\n", "\u{FEFF}"] {
        assert!(read(text).unwrap().root().is_none(), "{text:?}");
    }
    assert!(root("---\n").is_null());
}

#[test]
fn only_the_first_document_is_read_and_the_next_one_is_reported() {
    let document = read("a: 1\n---\nb: 2\n").unwrap();
    assert_eq!(shown(document.root().unwrap()), r#"{"a": 1}"#);
    assert_eq!(document.next_document().unwrap().line(), 2);
    assert!(read("a: 1\n...\n").unwrap().next_document().is_none());
    // What is wrong beyond the first document does not concern it.
    assert!(read("a: 1\n---\nb: [\n").unwrap().root().is_some());
}

#[test]
fn aliases_repeat_what_their_anchor_holds() {
    assert_eq!(
        shown(&root(
            "a: &x {k: 1}\nb: *x\nc: &x 2\nd: *x\ne: &y [*x]\nf: *y\n"
        )),
        r#"{"a": {"k": 1}, "b": {"k": 1}, "c": 2, "d": 2, "e": [2], "f": [2]}"#
    );
}

#[test]
fn merges_fill_in_what_is_not_written_out() {
    // Whether it is written before or after the merge.
    assert_eq!(
        shown(&root(
            "a: &a {k: 1, l: 2}\nb: {k: 9, <<: *a}\nc: {<<: *a, l: 8}\n"
        )),
        r#"{"a": {"k": 1, "l": 2}, "b": {"k": 9, "l": 2}, "c": {"l": 8, "k": 1}}"#
    );
    // Of several, the first one wins.
    assert_eq!(
        shown(&root("- &a {k: 1}\n- &b {k: 2, m: 3}\n- {<<: [*a, *b]}\n")),
        r#"[{"k": 1}, {"k": 2, "m": 3}, {"k": 1, "m": 3}]"#
    );
    // In quotes it is a key like any other.
    assert_eq!(shown(&root("{'<<': 1}")), r#"{"<<": 1}"#);
}

#[test]
fn a_merge_of_something_else_is_a_problem() {
    assert_eq!(
        problem("a: 1\nb: {<<: text}\n"),
        (
            2,
            9,
            "'<<' merges a mapping or a list of mappings, not the string 'text'".to_owned()
        )
    );
    assert!(problem("<<: [[]]").2.contains("not a list"));
}

#[test]
fn of_a_key_given_twice_the_last_counts_and_both_places_are_kept() {
    let document = root("k: 1\nother: 2\nk: 3\n");
    assert_eq!(shown(&document), r#"{"k": 3, "other": 2}"#);
    let duplicates = document.as_mapping().unwrap().duplicates();
    assert_eq!(duplicates.len(), 1);
    assert_eq!(&*duplicates[0].key, "k");
    assert_eq!(
        (duplicates[0].earlier.line(), duplicates[0].later.line()),
        (1, 3)
    );
}

#[test]
fn broken_syntax_is_a_problem_with_its_place() {
    let tab = read("domain: a\ndescriptors:\n\t- key: a\n").unwrap_err();
    assert_eq!((tab.line, tab.column), (3, 2), "{tab}");
    assert!(tab.message.starts_with("not valid YAML: "), "{tab}");
    assert!(tab.hint.unwrap().contains("spaces"));

    assert_eq!(problem("a: [1, 2\nb: 3\n").0, 2);
    assert_eq!(problem("a: 'x\n").0, 1);
    assert_eq!(problem("a: *missing\n").0, 1);
    assert_eq!(problem("a: b: c\n").0, 1);
    assert_eq!(problem("a: @x\n").0, 1);
}

#[test]
fn an_alias_within_its_own_anchor_is_a_problem() {
    assert_eq!(
        problem("a: &x [1, *x]\n").2,
        "an alias repeats the collection it is part of"
    );
}

#[test]
fn a_bomb_of_aliases_is_a_problem_not_memory() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(
        problem(&text)
            .2
            .contains("anchors and aliases stand for more than 1000000 values")
    );
}

#[test]
fn every_copy_an_alias_makes_is_counted() {
    let limits = Limits {
        max_copied_nodes: 10,
        ..Limits::default()
    };
    let within = |text: &str| parse(&Source::new("t", text), &limits).is_ok();
    assert!(within("[&a [1, 2], *a, *a]"));
    assert!(!within("[&a [1, 2], *a, *a, *a]"));
}

#[test]
fn nesting_is_bounded_also_through_aliases() {
    let limits = Limits {
        max_depth: 5,
        ..Limits::default()
    };
    let within = |text: &str| {
        parse(&Source::new("t", text), &limits)
            .map(|_| ())
            .map_err(|problem| problem.message)
    };
    assert_eq!(within("[[[[[1]]]]]"), Ok(()));
    assert_eq!(
        within("[[[[[[1]]]]]]"),
        Err("nested deeper than 5 levels".to_owned())
    );
    assert_eq!(within("[&a [[1]], [*a]]"), Ok(()));
    assert_eq!(
        within("[&a [[[1]]], [[*a]]]"),
        Err("nested deeper than 5 levels".to_owned())
    );
    // Far beyond every limit, and quickly.
    assert!(read(&"[".repeat(1_000_000)).is_err());
    assert!(read(&"- ".repeat(100_000)).is_err());
    assert!(read(&"{a: ".repeat(100_000)).is_err());
}

#[test]
fn size_and_number_of_values_are_bounded() {
    let limits = Limits {
        max_bytes: 20,
        max_nodes: 5,
        ..Limits::default()
    };
    let within = |text: &str| {
        parse(&Source::new("t", text), &limits)
            .map(|_| ())
            .map_err(|problem| problem.message)
    };
    assert_eq!(within("[1, 2, 3, 4]"), Ok(()));
    assert_eq!(
        within("[1, 2, 3, 4, 5]"),
        Err("more than 5 values in one file".to_owned())
    );
    assert_eq!(
        within(&"#".repeat(21)),
        Err("the file has 21 bytes, more than the 20 that are read".to_owned())
    );
}

#[test]
fn line_ends_of_other_systems_are_understood() {
    let document = root("a: 1\r\nb: x\r\n");
    assert_eq!(shown(&document), r#"{"a": 1, "b": "x"}"#);
    assert_eq!(document.get("b").unwrap().span().line(), 2);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-a-c:{}\\[\\]&*<!#|>'\" \\n\\t,?%@~0-9é]{0,80}") {
        let source = Source::new("t", text);
        if let Err(problem) = parse(&source, &Limits::default()) {
            // Showing it works as well.
            assert!(!problem.to_string().is_empty());
        }
    }
}
