//! Chat templates: folders, dates, refusals. What they render is in `golden.rs`.

use convrec_core::Turn;
use convrec_text::{ChatError, ChatTemplate};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn hello(template: Result<ChatTemplate, ChatError>) -> String {
    template
        .unwrap()
        .render(&[Turn::user("hello")], false)
        .unwrap()
}

#[test]
fn templates_are_found_in_both_places_of_a_folder() {
    let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
        "chat_template": "{{ bos_token }}old {{ messages[0].content }}{{ eos_token }}"}"#;
    let old = folder(&[("tokenizer_config.json", config)]);
    assert_eq!(hello(ChatTemplate::load(old.path())), "<s>old hello</s>");
    let new = folder(&[
        ("tokenizer_config.json", config),
        ("chat_template.jinja", "{{ bos_token }}new\n"),
    ]);
    assert_eq!(hello(ChatTemplate::load(new.path())), "<s>new");
}

#[test]
fn errors_say_what_is_wrong() {
    let load = |files: &[(&str, &str)]| {
        ChatTemplate::load(folder(files).path())
            .unwrap_err()
            .to_string()
    };
    assert!(load(&[]).contains("cannot read") && load(&[]).contains("tokenizer_config.json"));
    assert!(
        load(&[("tokenizer_config.json", "[]")]).contains("tokenizer_config.json: invalid type")
    );
    assert!(
        load(&[("tokenizer_config.json", "{}")])
            .contains("no chat_template.jinja, no `chat_template`")
    );
    assert!(
        ChatTemplate::new("{% if %}")
            .unwrap_err()
            .to_string()
            .contains("syntax error")
    );

    let refusing = ChatTemplate::new("{{ raise_exception('roles must alternate') }}").unwrap();
    let error = refusing
        .render(&[Turn::user("a")], true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("roles must alternate"), "{error}");
}

#[test]
fn the_date_is_given_or_absent() {
    let template = || {
        ChatTemplate::new(
            "{% if strftime_now is defined %}{{ strftime_now('%d %b') }}{% else %}none{% endif %}",
        )
    };
    assert_eq!(hello(template()), "none");
    assert_eq!(hello(Ok(template().unwrap().with_date("26 Jul"))), "26 Jul");
}
