//! Words that people say without meaning a title.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Whether a case-folded word is a common English one.
pub(super) fn is_common(word: &str) -> bool {
    COMMON.binary_search(&word).is_ok()
}

/// Whether a case-folded word, alone, is more often said than meant as a title: `alien`, `parents`.
pub(super) fn is_ordinary(word: &str) -> bool {
    static ORDINARY: LazyLock<HashSet<&str>> =
        LazyLock::new(|| include_str!("ordinary.txt").split_whitespace().collect());
    is_common(word) || ORDINARY.contains(word)
}

/// Function words, and the words that conversations about films and books are full of; sorted.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "a", "about", "above", "across", "act", "acting", "action", "actor", "actors", "actress",
    "adam", "after", "again", "against", "age", "ago", "ah", "air", "alex", "alive", "all",
    "almost", "alone", "along", "already", "also", "always", "am", "amazing", "an", "and",
    "animal", "animals", "anna", "another", "answer", "any", "anybody", "anyone", "anything",
    "anyway", "april", "are", "aren't", "army", "around", "art", "as", "ask", "asked", "at", "ate",
    "august", "away", "awesome", "awful", "baby", "back", "bad", "be", "beach", "beautiful",
    "became", "because", "become", "been", "before", "began", "behind", "being", "believe", "ben",
    "best", "better", "between", "big", "bit", "black", "blood", "blue", "body", "book", "books",
    "boring", "born", "both", "box", "boy", "boys", "break", "bring", "brother", "brothers", "bug",
    "but", "buy", "by", "bye", "call", "called", "came", "can", "can't", "cannot", "car", "care",
    "cars", "cast", "cat", "change", "characters", "child", "children", "chris", "christmas",
    "city", "class", "classic", "clear", "close", "clue", "cold", "color", "come", "comedies",
    "comedy", "comes", "coming", "cool", "cop", "could", "couldn't", "country", "couple", "crash",
    "crazy", "creature", "cut", "dad", "dance", "dark", "date", "daughter", "david", "day", "days",
    "dead", "deal", "dear", "death", "december", "deep", "definitely", "did", "didn't", "die",
    "died", "different", "do", "doctor", "documentary", "does", "doesn't", "dog", "dogs", "doing",
    "don't", "done", "door", "down", "dragon", "drama", "dream", "dreams", "drive", "during",
    "each", "early", "earth", "easy", "eat", "eight", "either", "else", "emma", "end", "ending",
    "enemy", "enough", "especially", "even", "ever", "every", "everybody", "everyone",
    "everything", "exactly", "excellent", "eye", "eyes", "face", "fact", "fall", "false", "family",
    "fan", "fantastic", "far", "fast", "father", "favorite", "favourite", "fear", "february",
    "feel", "feeling", "few", "fight", "film", "films", "find", "fine", "fire", "first", "five",
    "flight", "fly", "follow", "food", "football", "for", "forever", "found", "four", "free",
    "fresh", "friday", "friend", "friends", "from", "front", "frozen", "full", "fun", "funny",
    "game", "games", "gave", "genre", "george", "get", "gets", "getting", "ghost", "giant", "gift",
    "girl", "girls", "give", "glad", "go", "goes", "going", "gone", "gonna", "good", "goodbye",
    "got", "great", "green", "ground", "group", "grow", "guess", "gun", "guy", "guys", "had",
    "hair", "half", "hand", "hands", "happen", "happened", "happy", "hard", "has", "hasn't",
    "hate", "have", "haven", "haven't", "having", "he", "he's", "head", "hear", "heard", "heart",
    "heaven", "hell", "hello", "help", "her", "here", "hero", "hers", "hey", "hi", "hidden",
    "high", "hill", "him", "his", "history", "hit", "hold", "holiday", "holidays", "hollywood",
    "home", "hope", "horror", "hot", "hour", "hours", "house", "how", "hunt", "hunter", "husband",
    "i", "i'd", "i'll", "i'm", "i've", "idea", "if", "in", "inside", "interesting", "into", "is",
    "island", "isn't", "it", "it's", "its", "jack", "james", "jane", "january", "job", "john",
    "joke", "july", "june", "just", "keep", "kid", "kids", "kill", "killer", "kind", "king",
    "knew", "know", "known", "la", "lady", "land", "last", "late", "later", "laugh", "law", "lead",
    "learn", "least", "leave", "left", "less", "let", "let's", "letter", "life", "light", "like",
    "liked", "lines", "list", "listen", "little", "live", "lives", "living", "long", "look",
    "looking", "looks", "lost", "lot", "lots", "loud", "love", "loved", "lover", "loving", "low",
    "luck", "mad", "made", "magic", "make", "makes", "man", "many", "march", "mark", "married",
    "mary", "mask", "matter", "max", "may", "maybe", "me", "mean", "meet", "men", "met", "michael",
    "middle", "might", "mind", "mine", "minute", "miss", "mom", "moment", "monday", "money",
    "monster", "month", "moon", "more", "morgan", "morning", "most", "mother", "move", "movie",
    "movies", "moving", "much", "murder", "music", "must", "my", "myself", "name", "near", "need",
    "never", "new", "news", "next", "nice", "night", "nights", "nine", "no", "nobody", "none",
    "nope", "not", "nothing", "november", "now", "number", "ocean", "october", "of", "off",
    "office", "often", "oh", "ok", "okay", "old", "on", "once", "one", "only", "open", "or",
    "order", "other", "others", "our", "out", "outside", "over", "own", "page", "paper", "part",
    "party", "past", "paul", "pay", "people", "perfect", "person", "peter", "pick", "picture",
    "pirates", "place", "plan", "play", "played", "please", "point", "police", "power", "pretty",
    "prince", "princess", "probably", "problem", "pull", "push", "put", "queen", "question",
    "quick", "quiet", "quite", "race", "rain", "ran", "read", "ready", "real", "really", "reason",
    "recommend", "recommendation", "red", "remember", "rent", "rest", "ride", "right", "ring",
    "river", "road", "robert", "robot", "rock", "role", "romance", "romantic", "room", "run",
    "running", "sad", "safe", "said", "same", "sarah", "sat", "saturday", "save", "saw", "say",
    "says", "scary", "scene", "school", "season", "seat", "second", "secret", "see", "seem",
    "seen", "sense", "september", "series", "serious", "set", "seven", "sex", "shadow", "shall",
    "she", "she's", "short", "should", "shouldn't", "show", "shows", "shut", "sick", "side",
    "sign", "signs", "silence", "silent", "simple", "since", "sing", "single", "sister", "sit",
    "six", "sky", "sleep", "slow", "small", "smart", "smile", "snow", "so", "soldier", "some",
    "somebody", "someone", "something", "sometimes", "son", "song", "soon", "sorry", "sort",
    "sound", "space", "speak", "speed", "spy", "stand", "star", "stars", "start", "started",
    "state", "stay", "step", "steve", "still", "stop", "story", "strange", "street", "strong",
    "stuff", "style", "such", "suggest", "suggestion", "suggestions", "summer", "sun", "sunday",
    "super", "sure", "surprise", "sweet", "take", "taken", "takes", "talk", "taste", "team",
    "tell", "ten", "terrible", "than", "thank", "thanks", "that", "that's", "the", "their", "them",
    "theme", "then", "there", "there's", "these", "they", "they're", "thing", "things", "think",
    "this", "those", "though", "thought", "three", "thriller", "through", "thursday", "till",
    "time", "times", "to", "today", "together", "told", "tom", "tomorrow", "tonight", "too",
    "took", "top", "total", "touch", "toward", "town", "train", "tree", "trip", "true", "truth",
    "try", "tuesday", "turn", "tv", "twelve", "twice", "two", "type", "under", "until", "up",
    "upon", "us", "use", "used", "usually", "vampire", "very", "wait", "walk", "wall", "want",
    "wanted", "war", "was", "wasn't", "watch", "watched", "watching", "water", "way", "we",
    "we're", "wedding", "wednesday", "weekend", "weird", "welcome", "well", "went", "were", "what",
    "what's", "when", "where", "which", "while", "white", "who", "why", "wife", "wild", "will",
    "wind", "winter", "wish", "with", "without", "witness", "woman", "women", "won't", "wonder",
    "wonderful", "word", "words", "work", "world", "worse", "worst", "worth", "would", "wouldn't",
    "wow", "write", "wrong", "x", "yeah", "year", "years", "yellow", "yes", "yesterday", "yet",
    "you", "you're", "young", "your", "yours", "zero", "zombie",
];

#[cfg(test)]
#[test]
fn the_words_are_sorted_and_differ() {
    assert!(COMMON.is_sorted_by(|a, b| a < b));
}
