//! A made-up registry of 240 tools.

/// Words of descriptions, each with words that people say instead.
pub const ACTIONS: [[&str; 4]; 10] = [
    ["convert", "turn", "change", "transform"],
    ["translate", "render", "say", "interpret"],
    ["summarise", "shorten", "digest", "condense"],
    ["search", "find", "locate", "look"],
    ["send", "deliver", "forward", "post"],
    ["schedule", "book", "arrange", "plan"],
    ["delete", "remove", "erase", "drop"],
    ["compare", "contrast", "weigh", "match"],
    ["monitor", "watch", "follow", "track"],
    ["draw", "sketch", "plot", "paint"],
];
pub const THINGS: [[&str; 4]; 12] = [
    ["currency", "money", "dollars", "euros"],
    ["document", "paper", "report", "text"],
    ["email", "message", "mail", "note"],
    ["meeting", "appointment", "call", "session"],
    ["image", "picture", "photo", "scan"],
    ["flight", "plane", "trip", "journey"],
    ["weather", "forecast", "rain", "temperature"],
    ["stock", "share", "market", "price"],
    ["song", "music", "track", "tune"],
    ["recipe", "dish", "meal", "dinner"],
    ["code", "program", "script", "function"],
    ["map", "route", "road", "way"],
];
/// Tools of each action and thing: one for people, one for programs.
pub const KINDS: usize = 2;

/// The action and the thing of a tool.
pub fn parts(tool: usize) -> (usize, usize) {
    (tool / KINDS / THINGS.len(), tool / KINDS % THINGS.len())
}
