//! Chat templates: folders, dates, refusals. `golden.rs` tests their output.

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
fn templates_are_found_in_all_places_of_a_folder() {
    const CONFIG: &str = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null,
        "chat_template": "{{ bos_token }}old {{ messages[0].content }}{{ eos_token }}"}"#;
    let config = ("tokenizer_config.json", CONFIG);
    let load = |files: &[(&str, &str)]| hello(ChatTemplate::load(folder(files).path()));
    assert_eq!(load(&[config]), "<s>old hello</s>");
    let text = "{{ bos_token }}new {{ messages[0].content }}\n";
    assert_eq!(
        load(&[config, ("chat_template.jinja", text)]),
        "<s>new hello"
    );
    let processor = (
        "chat_template.json",
        r#"{"chat_template": "p {{ messages[0].content }}"}"#,
    );
    assert_eq!(load(&[config, processor]), "p hello");
    assert_eq!(load(&[processor]), "p hello");
    // Files from Windows have a byte order mark in JSON and line ends of two characters.
    let marked = format!("\u{feff}{CONFIG}");
    assert_eq!(
        load(&[("tokenizer_config.json", &marked)]),
        "<s>old hello</s>"
    );
    let crlf = "{{ messages[0].content }}\r\n{% if true %}\r\nx{% endif %}\r\n";
    assert_eq!(load(&[("chat_template.jinja", crlf)]), "hello\nx");

    // Some special tokens are only in special_tokens_map.json, or have another text there.
    let map = (
        "special_tokens_map.json",
        r#"{"bos_token": {"content": "<b>"}, "eos_token": "<e>"}"#,
    );
    let both = (
        "chat_template.jinja",
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    );
    assert_eq!(load(&[both, map]), "<b>hello<e>");
    assert_eq!(load(&[config, map]), "<b>old hello<e>");
    let listed = CONFIG.replacen('{', r#"{"added_tokens_decoder": {}, "#, 1);
    assert_eq!(
        load(&[("tokenizer_config.json", &listed), map]),
        "<s>old hello</s>"
    );

    let named = |names: [&str; 2]| {
        let [a, b] = names;
        let config = format!(
            r#"{{"chat_template": [{{"name": "{a}", "template": "{a} {{{{ messages[0].content }}}}"}},
                {{"name": "{b}", "template": "{b}"}}]}}"#
        );
        ChatTemplate::load(folder(&[("tokenizer_config.json", &config)]).path())
    };
    assert_eq!(hello(named(["default", "tool_use"])), "default hello");
    let error = named(["rag", "tool_use"]).unwrap_err().to_string();
    assert!(
        error.contains("named `rag`, `tool_use`; expected one named `default`"),
        "{error}"
    );
}

#[test]
fn errors_say_what_is_wrong() {
    let load = |files: &[(&str, &str)]| {
        ChatTemplate::load(folder(files).path())
            .unwrap_err()
            .to_string()
    };
    let none = "no chat_template.jinja, no `chat_template` in chat_template.json and \
                tokenizer_config.json";
    assert!(load(&[]).contains(none), "{}", load(&[]));
    assert!(load(&[("tokenizer_config.json", "{}")]).contains(none));
    for (text, problem) in [
        ("[]", "tokenizer_config.json: invalid type"),
        (
            r#"{"chat_template": 7}"#,
            "a number or a truth value; expected a template",
        ),
        (
            r#"{"chat_template": [7]}"#,
            "a list of other things; expected",
        ),
    ] {
        let error = load(&[("tokenizer_config.json", text)]);
        assert!(error.contains(problem), "{error}");
    }
    let error = ChatTemplate::new("{% if %}").unwrap_err().to_string();
    assert!(error.contains("syntax error"), "{error}");

    let refusing = ChatTemplate::new("{{ raise_exception('roles must alternate') }}").unwrap();
    let error = refusing
        .render(&[Turn::user("a")], true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("roles must alternate"), "{error}");
}

#[test]
fn the_date_is_fixed() {
    let template = ChatTemplate::new(
        "{{ messages[0].content }} {{ strftime_now('%d %b %Y') }}, {{ strftime_now('%A %-d %B') }}",
    );
    let template = template.unwrap();
    assert_eq!(
        hello(Ok(template.clone())),
        "hello 26 Jul 2024, Friday 26 July"
    );
    let set = template.clone().with_date("2026-11-03");
    assert_eq!(hello(set), "hello 03 Nov 2026, Tuesday 3 November");
    let error = template.with_date("26 Jul").unwrap_err().to_string();
    assert!(
        error.contains("`date`: \"26 Jul\"; expected a day"),
        "{error}"
    );
    let wrong = ChatTemplate::new("{{ messages[0].content }}{{ strftime_now('%Q') }}").unwrap();
    let error = wrong
        .render(&[Turn::user("x")], true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unknown date format"), "{error}");
}

#[test]
fn parts_are_given_to_templates_that_want_them() {
    let parts = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{% if p.type == \
                 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}";
    assert_eq!(hello(ChatTemplate::new(parts)), "<user>hello");
    let first = "{{ messages[0]['content'][0]['text'] }}";
    assert_eq!(hello(ChatTemplate::new(first)), "hello");
    // Where both are read, a string is given, as in `transformers`.
    let both =
        "{% if messages[0].content is string %}s {{ messages[0].content }}{% else %}p{% endif %}";
    assert_eq!(hello(ChatTemplate::new(both)), "s hello");
    let mixed = "{% for m in messages %}{% if m.role == 'system' %}{{ m.content | upper if \
                 m.content is not string else m.content }}|{% else %}{{ m.content[0].text }}{% \
                 endif %}{% endfor %}";
    let turns = [system("be brief"), Turn::user("hello")];
    let text = ChatTemplate::new(mixed).unwrap().render(&turns, true);
    assert_eq!(text.unwrap(), "be brief|hello");
}

fn system(content: &str) -> Turn {
    Turn {
        role: convrec_core::Role::System,
        content: content.into(),
    }
}

#[test]
fn a_prompt_that_lacks_the_conversation_is_refused() {
    let render = |source: &str, turns: &[Turn]| {
        ChatTemplate::new(source)
            .unwrap()
            .render(turns, true)
            .map_err(|e| (e.to_string(), e))
    };
    let (words, error) = render("nothing", &[Turn::user(" hello ")]).unwrap_err();
    assert!(matches!(error, ChatError::TurnMissing { .. }), "{words}");
    assert!(words.contains("what the user says (\"hello\")"), "{words}");
    let last = "{{ messages[-1].content }}";
    let (words, _) = render(last, &[system("x"), Turn::user("a")]).unwrap_err();
    assert!(words.contains("what the system says"), "{words}");
    // Templates may trim turns, and drop an assistant's reasoning.
    let trims = "{% for m in messages %}{{ m.content.split('</think>')[-1].strip() }}{% endfor %}";
    let turns = [Turn::user("a\n"), Turn::assistant("<think>b</think>\n\nc")];
    assert_eq!(render(trims, &turns).unwrap(), "ac");
}

#[test]
fn a_refused_system_message_says_what_helps() {
    let source = "{% if messages[0].role == 'system' %}{{ raise_exception('No system here') }}{% \
                  endif %}{{ messages[0].content }}";
    let template = ChatTemplate::new(source).unwrap();
    let error = template.render(&[system("x")], true).unwrap_err();
    assert!(matches!(error, ChatError::Refused { .. }));
    let words = error.to_string();
    assert!(
        words.contains("No system here") && words.contains("`chat.system = \"\"` in task.json"),
        "{words}"
    );
    assert!(template.render(&[Turn::user("x")], true).is_ok());
}

/// As Python says. Templates cut reasoning and roles off with these.
#[test]
fn texts_are_cut_as_in_python() {
    for (source, expected) in [
        ("{{ 'a b  c '.rsplit() | tojson }}", r#"["a", "b", "c"]"#),
        (
            "{{ ' a b  c '.rsplit(none, 1) | tojson }}",
            r#"[" a b", "c"]"#,
        ),
        ("{{ ' a b '.rsplit(maxsplit=0) | tojson }}", r#"[" a b"]"#),
        (
            "{{ 'a,b,,c'.rsplit(',', 2) | tojson }}",
            r#"["a,b", "", "c"]"#,
        ),
        ("{{ ',a'.rsplit(',') | tojson }}", r#"["", "a"]"#),
        (
            "{{ 'a,b,c'.split(',', maxsplit=1) | tojson }}",
            r#"["a", "b,c"]"#,
        ),
        (
            "{{ 'a,b,c'.split(sep=',') | tojson }}",
            r#"["a", "b", "c"]"#,
        ),
        (
            "{{ 'a--b--c'.partition('--') | tojson }}",
            r#"["a", "--", "b--c"]"#,
        ),
        (
            "{{ 'a--b--c'.rpartition('--') | tojson }}",
            r#"["a--b", "--", "c"]"#,
        ),
        ("{{ 'abc'.partition('-') | tojson }}", r#"["abc", "", ""]"#),
        ("{{ 'abc'.rpartition('-') | tojson }}", r#"["", "", "abc"]"#),
        (
            "{{ 'abcab'.removeprefix('ab') }}{{ 'abcab'.removesuffix('ab') }}",
            "cababc",
        ),
        (
            "{{ 'abc'.removeprefix('x') }}{{ 'abc'.removesuffix('') }}",
            "abcabc",
        ),
    ] {
        let template = ChatTemplate::new(format!("{source}{{{{ messages[0].content }}}}"));
        let shown = template.unwrap().render(&[Turn::user("!")], true).unwrap();
        assert_eq!(shown, format!("{expected}!"), "{source}");
    }
    for source in [
        "{{ 'a'.rsplit('') }}",
        "{{ 'a'.partition('') }}",
        "{{ 'a'.rsplit(x=1) }}",
    ] {
        let template = ChatTemplate::new(source).unwrap();
        assert!(
            template.render(&[Turn::user("!")], true).is_err(),
            "{source}"
        );
    }
}

/// As Python writes them. (`transformers` renders the same.)
#[test]
fn texts_are_formatted_and_titled_as_in_python() {
    for (source, expected) in [
        ("{{ '%s-%d' % ('a', 3) }}", "a-3"),
        (
            "{{ '%5.2f|%-4s|%04d|%x' % (3.14159, 'ab', 7, 255) }}",
            " 3.14|ab  |0007|ff",
        ),
        (
            "{{ 'a %s' % 'b' }}{{ '%s' % 7 }}{{ '100%%' % () }}",
            "a b7100%",
        ),
        ("{{ '%(x)s and %(y)d' % {'x': 'a', 'y': 2} }}", "a and 2"),
        (
            "{{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ true % 2 }}",
            "1 2 -2 1.5 1",
        ),
        (
            "{{ 1 + 2 }}{{ 'a' + 'b' }}{{ ([1] + [2] + [3]) | join(',') }}",
            "3ab1,2,3",
        ),
        (
            "{% if loop is defined and 3 % 2 == 1 %}x{% endif %}{{ 4 % 3 + 1 }}",
            "2",
        ),
        ("{{ \"they're bill's 1st\".title() }}", "They'Re Bill'S 1St"),
        ("{{ 'ÉCOLE été x-ray'.title() }}", "École Été X-Ray"),
        ("{{ \"they're\" | title }}", "They're"),
        ("{{ [1, 2.5] | sum }}{{ [{'a': 2}] | sum('a', 1) }}", "3.53"),
    ] {
        let template = ChatTemplate::new(format!("{source}{{{{ messages[0].content }}}}")).unwrap();
        let text = template.render(&[Turn::user("!")], true).unwrap();
        assert_eq!(text, format!("{expected}!"), "{source}");
    }
    for refused in [
        "{{ '%d' % 'a' }}",
        "{{ '%s %s' % 'a' }}",
        "{{ 1 % 0 }}",
        "{{ [1] % 2 }}",
    ] {
        let template = ChatTemplate::new(refused).unwrap();
        assert!(
            template.render(&[Turn::user("!")], true).is_err(),
            "{refused}"
        );
    }
}

/// Hostile templates are bounded in time, memory and depth.
#[test]
fn hostile_templates_end_soon() {
    let say = "{{ messages[0].content }}";
    for source in [
        "{% for i in range(10**12) %}x{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% for k in range(100000) %}{% \
         endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% \
         endfor %}{{ ns.x }}",
        "{{ 'a' * 1000000000000 }}",
        "{{ ([1] * 100000000) | tojson }}",
        "{% for i in range(100000) %}{% set x = (['a' * 100] * 9000) | tojson %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(1000000) }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
        "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] | sum(start=[]) %}{% endfor %}{{ ns.x | length }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x | chain(ns.x) %}{% endfor %}{{ ns.x | length }}",
        "{% set a = [1] * 90000000 %}{% set ns = namespace(x=a) %}{% for i in range(40) %}{% set ns.x = ns.x + [1] %}{% endfor %}",
        "{% macro f(x, n) %}{% if n %}{{ f(x + x, n - 1) }}{% endif %}{% endmacro %}{{ f([1], 60) }}",
        "{% set ns = namespace(all=[], x=range(9999) | list) %}{% for i in range(100000) %}{% set ns.all = ns.all + [ns.x + [i]] %}{% endfor %}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000s' % 'x' }}",
        "{% for i in [[1]] recursive %}{{ loop([i]) }}{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{% import '../x' as y %}",
        "{{ messages.__class__.__mro__ }}",
        "{{ '%1000000000s' | format('x') }}",
        "{{ 'x\n' | indent(2000000000, true) }}",
        "{{ 'x'.center(10**12) }}",
        "{{ '{:>1000000000}'.format('x') }}",
        "{{ '{:>{}}'.format('x', 1000000000) }}",
        "{{ ('a' * 9000).join(['a' * 9000] * 9000) }}",
        "{% for i in range(100000) %}{% set x = ('a' * 1000000).upper() %}{% endfor %}",
        "{{ [1, 2] | batch(1000000000, 'x') | list }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ lipsum(1000000) }}",
        "{{ 'a' * 10**7 * 10**7 }}",
        "{{ ('a' * 50000).replace('a', 'a' * 50000) }}",
        "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x} %}{% \
         endfor %}{{ ns.x | tojson }}",
    ] {
        let start = std::time::Instant::now();
        let template = ChatTemplate::new(format!("{source}{say}")).unwrap();
        let error = template.render(&[Turn::user("hello")], true).unwrap_err();
        assert!(!error.to_string().is_empty());
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 20.0, "{seconds} s for {source}");
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(ChatTemplate::new(deep).is_err());
    let nested = format!(
        "{}{}",
        "{% if 1 %}".repeat(100_000),
        "{% endif %}".repeat(100_000)
    );
    assert!(ChatTemplate::new(nested).is_err());
}
