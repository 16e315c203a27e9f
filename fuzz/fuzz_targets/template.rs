//! Any chat template ends soon, with a prompt that holds the conversation or with an error.
#![no_main]

use convrec_core::{Role, Turn};
use convrec_text::ChatTemplate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    let turn = |role, content: &str| Turn {
        role,
        content: content.into(),
    };
    let turns = [
        turn(Role::System, "Be brief."),
        turn(Role::User, "I loved Heat (1995)"),
        turn(Role::Assistant, "<think>hm</think>Ronin (1998)"),
        turn(Role::User, "More?"),
    ];
    let template = template.with_variable("enable_thinking", false);
    for turns in [&turns[..], &turns[1..2]] {
        if let Ok(text) = template.render(turns, true) {
            let asked = |turn: &&Turn| turn.role == Role::User;
            assert!(
                turns
                    .iter()
                    .filter(asked)
                    .all(|turn| text.contains(&turn.content))
            );
        }
    }
});
