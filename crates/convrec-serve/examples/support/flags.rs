//! Flags as `--name value`.

use std::collections::HashMap;
use std::str::FromStr;

pub struct Flags(HashMap<String, String>);

impl Flags {
    pub fn read() -> Self {
        let mut flags = HashMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            if let Some(name) = word.strip_prefix("--") {
                let value = words.next_if(|next| !next.starts_with("--"));
                flags.insert(name.to_string(), value.unwrap_or_default());
            }
        }
        Self(flags)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a flag, or what it is where there is none. The program ends where it is wrong.
    pub fn value<T: FromStr>(&self, name: &str, usual: T) -> T {
        let Some(text) = self.text(name) else {
            return usual;
        };
        text.parse().unwrap_or_else(|_| {
            eprintln!("error: --{name} {text}; expected another value");
            std::process::exit(2);
        })
    }
}
