//! The page at `/`.

use crate::common::*;

#[test]
fn the_page_asks_nobody_else() {
    let serving = start(1, Some(catalog()));
    let index = get(&serving, "/");
    assert_eq!(
        index.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = index.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"));
    let script = get(&serving, "/app.js");
    let style = get(&serving, "/style.css");
    for file in [&index, &script, &style, &get(&serving, "/favicon.svg")] {
        assert_eq!(
            (file.status, file.header("x-content-type-options")),
            (200, Some("nosniff"))
        );
        let outside = ["http://", "https://", "//cdn", "@import", "url("];
        let used = |part: &&&str| {
            file.body
                .replace("http://www.w3.org/2000/svg", "")
                .contains(**part)
        };
        assert_eq!(outside.iter().find(used), None);
    }
    // Nothing that the policy forbids.
    for forbidden in [" style=", " onclick=", "<style", "javascript:"] {
        assert!(!index.body.contains(forbidden), "{forbidden}");
    }
    for forbidden in [
        "innerHTML",
        "eval(",
        "document.write",
        "insertAdjacentHTML",
        ".style.",
    ] {
        assert!(!script.body.contains(forbidden), "{forbidden}");
    }
    serving.stop().unwrap();
}

/// What a screen reader and a keyboard go by.
#[test]
fn everything_has_a_name() {
    let serving = start(1, Some(catalog()));
    let html = get(&serving, "/").body;
    assert!(html.contains("<html lang=\"en\">") && html.contains("name=\"viewport\""));
    let ids = |prefix: &str| -> Vec<String> {
        html.split(prefix)
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_string())
            .collect()
    };
    let labelled = ids(" for=\"");
    for field in ["message", "search", "genre", "many", "key"] {
        assert!(
            labelled.contains(&field.to_string()),
            "{field} has no label"
        );
    }
    let known = ids(" id=\"");
    for id in labelled
        .iter()
        .chain(&ids("aria-labelledby=\""))
        .chain(&ids("aria-controls=\""))
    {
        assert!(known.contains(id), "nothing is called {id}");
    }
    let mut unique = known.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), known.len());
    for part in [
        "role=\"status\"",
        "role=\"alert\"",
        "role=\"combobox\"",
        "role=\"listbox\"",
        "class=\"skip\"",
        "<main>",
        "<h1>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // The script finds all that it looks for.
    let script = get(&serving, "/app.js").body;
    for wanted in script
        .split("$(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        assert!(
            known.contains(&wanted.to_string()),
            "the script looks for {wanted}"
        );
    }
    let style = get(&serving, "/style.css").body;
    for part in [
        "prefers-reduced-motion",
        "light-dark(",
        "max-width: 48rem",
        ":focus-visible",
    ] {
        assert!(style.contains(part), "{part}");
    }
    serving.stop().unwrap();
}
