//! Words that people say without meaning a title.

/// Whether a case-folded word is a common English one.
pub(super) fn is_common(word: &str) -> bool {
    COMMON.binary_search(&word).is_ok()
}

/// Function words, and the words that conversations about films and books are full of; sorted.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "a", "about", "above", "across", "act", "acting", "action", "actor", "actors", "actress",
    "after", "again", "against", "age", "ago", "ah", "air", "all", "almost", "alone", "along",
    "already", "also", "always", "am", "amazing", "an", "and", "another", "answer", "any",
    "anybody", "anyone", "anything", "anyway", "are", "aren't", "around", "art", "as", "ask",
    "asked", "at", "ate", "away", "awesome", "awful", "baby", "back", "bad", "be", "beautiful",
    "became", "because", "become", "been", "before", "began", "behind", "being", "believe", "best",
    "better", "between", "big", "bit", "black", "blood", "blue", "body", "book", "books", "boring",
    "born", "both", "box", "boy", "boys", "break", "bring", "brother", "brothers", "bug", "but",
    "buy", "by", "bye", "call", "called", "came", "can", "can't", "cannot", "car", "care", "cars",
    "cast", "cat", "change", "characters", "child", "children", "christmas", "city", "class",
    "classic", "clear", "close", "clue", "cold", "color", "come", "comedies", "comedy", "comes",
    "coming", "cool", "could", "couldn't", "country", "couple", "crash", "crazy", "cut", "dad",
    "dance", "dark", "date", "daughter", "day", "days", "dead", "deal", "dear", "death", "deep",
    "definitely", "did", "didn't", "die", "died", "different", "do", "doctor", "documentary",
    "does", "doesn't", "dog", "dogs", "doing", "don't", "done", "door", "down", "drama", "dream",
    "dreams", "drive", "during", "each", "early", "earth", "easy", "eat", "eight", "either",
    "else", "end", "ending", "enemy", "enough", "especially", "even", "ever", "every", "everybody",
    "everyone", "everything", "exactly", "excellent", "eye", "eyes", "face", "fact", "fall",
    "false", "family", "fan", "fantastic", "far", "fast", "father", "favorite", "favourite",
    "fear", "feel", "feeling", "few", "fight", "film", "films", "find", "fine", "fire", "first",
    "five", "flight", "fly", "follow", "food", "for", "forever", "found", "four", "free", "fresh",
    "friend", "friends", "from", "front", "frozen", "full", "fun", "funny", "game", "games",
    "gave", "genre", "get", "gets", "getting", "ghost", "gift", "girl", "girls", "give", "glad",
    "go", "goes", "going", "gone", "gonna", "good", "goodbye", "got", "great", "green", "ground",
    "group", "grow", "guess", "gun", "guy", "guys", "had", "hair", "half", "hand", "hands",
    "happen", "happened", "happy", "hard", "has", "hasn't", "hate", "have", "haven't", "having",
    "he", "he's", "head", "hear", "heard", "heart", "heaven", "hell", "hello", "help", "her",
    "here", "hero", "hers", "hey", "hi", "hidden", "high", "hill", "him", "his", "history", "hit",
    "hold", "holiday", "home", "hope", "horror", "hot", "hour", "hours", "house", "how", "hunt",
    "husband", "i", "i'd", "i'll", "i'm", "i've", "idea", "if", "in", "inside", "interesting",
    "into", "is", "isn't", "it", "it's", "its", "job", "joke", "just", "keep", "kid", "kids",
    "kill", "kind", "king", "knew", "know", "known", "la", "lady", "land", "last", "late", "later",
    "laugh", "law", "lead", "learn", "least", "leave", "left", "less", "let", "let's", "letter",
    "life", "light", "like", "liked", "lines", "list", "listen", "little", "live", "lives",
    "living", "long", "look", "looking", "looks", "lost", "lot", "lots", "loud", "love", "loved",
    "lover", "low", "luck", "mad", "made", "magic", "make", "makes", "man", "many", "married",
    "mask", "matter", "may", "maybe", "me", "mean", "meet", "men", "met", "middle", "might",
    "mind", "mine", "minute", "miss", "mom", "moment", "money", "monster", "month", "moon", "more",
    "morning", "most", "mother", "move", "movie", "movies", "much", "music", "must", "my",
    "myself", "name", "near", "need", "never", "new", "news", "next", "nice", "night", "nights",
    "nine", "no", "nobody", "none", "nope", "not", "nothing", "now", "number", "of", "off",
    "office", "often", "oh", "ok", "okay", "old", "on", "once", "one", "only", "open", "or",
    "order", "other", "others", "our", "out", "outside", "over", "own", "page", "paper", "part",
    "party", "past", "pay", "people", "perfect", "person", "pick", "picture", "place", "plan",
    "play", "played", "please", "point", "police", "power", "pretty", "probably", "problem",
    "pull", "push", "put", "question", "quick", "quiet", "quite", "race", "rain", "ran", "read",
    "ready", "real", "really", "reason", "recommend", "recommendation", "red", "remember", "rest",
    "ride", "right", "ring", "road", "rock", "role", "romance", "romantic", "room", "run",
    "running", "sad", "safe", "said", "same", "sat", "save", "saw", "say", "says", "scary",
    "scene", "school", "season", "seat", "second", "secret", "see", "seem", "seen", "sense",
    "series", "serious", "set", "seven", "sex", "shadow", "shall", "she", "she's", "short",
    "should", "shouldn't", "show", "shows", "shut", "sick", "side", "sign", "signs", "silent",
    "simple", "since", "sing", "single", "sister", "sit", "six", "sky", "sleep", "slow", "small",
    "smart", "smile", "snow", "so", "some", "somebody", "someone", "something", "sometimes", "son",
    "song", "soon", "sorry", "sort", "sound", "space", "speak", "speed", "spy", "stand", "star",
    "stars", "start", "started", "state", "stay", "step", "still", "stop", "story", "strange",
    "street", "strong", "stuff", "style", "such", "suggest", "suggestion", "suggestions", "summer",
    "sun", "super", "sure", "surprise", "sweet", "take", "taken", "takes", "talk", "taste", "team",
    "tell", "ten", "terrible", "than", "thank", "thanks", "that", "that's", "the", "their", "them",
    "theme", "then", "there", "there's", "these", "they", "they're", "thing", "things", "think",
    "this", "those", "though", "thought", "three", "thriller", "through", "till", "time", "times",
    "to", "today", "together", "told", "tomorrow", "tonight", "too", "took", "top", "total",
    "touch", "toward", "town", "trip", "true", "truth", "try", "turn", "tv", "twelve", "twice",
    "two", "type", "under", "until", "up", "upon", "us", "use", "used", "usually", "very", "wait",
    "walk", "wall", "want", "wanted", "war", "was", "wasn't", "watch", "watched", "watching",
    "water", "way", "we", "we're", "weird", "welcome", "well", "went", "were", "what", "what's",
    "when", "where", "which", "while", "white", "who", "why", "wife", "wild", "will", "wind",
    "winter", "wish", "with", "without", "witness", "woman", "women", "won't", "wonder",
    "wonderful", "word", "words", "work", "world", "worse", "worst", "worth", "would", "wouldn't",
    "wow", "write", "wrong", "x", "yeah", "year", "years", "yellow", "yes", "yesterday", "yet",
    "you", "you're", "young", "your", "yours", "zero",
];

#[cfg(test)]
#[test]
fn the_words_are_sorted_and_differ() {
    assert!(COMMON.is_sorted_by(|a, b| a < b));
}
