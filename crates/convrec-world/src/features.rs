//! The features of films and tastes, and the words in which people speak of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use self::Kind::{Era, Genre, Theme};

/// The kind of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A genre, as in `CatalogItem::genres`.
    Genre,
    /// A theme, as among the keywords of `CatalogItem::metadata`.
    Theme,
    /// A span of years.
    Era,
}

/// A genre, a theme or an era. There are 14, 68 and 6 of them.
///
/// A film has up to three genres, one to five themes and one era; a [`Taste`](crate::Taste) gives
/// some features a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Feature(u8);

impl Feature {
    /// All features: genres, themes, eras.
    pub fn all() -> impl Iterator<Item = Feature> {
        (0..WORDS.len()).map(|index| Feature(index as u8))
    }

    /// The feature of that kind and name; `None` where there is none.
    pub fn find(kind: Kind, name: &str) -> Option<Feature> {
        Self::all().find(|feature| feature.kind() == kind && feature.name() == name)
    }

    /// The era in which `year` lies.
    pub fn of_year(year: i32) -> Feature {
        let era = ERA_STARTS
            .iter()
            .take_while(|start| year >= **start)
            .count();
        Feature((FIRST_ERA + era) as u8)
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        WORDS[self.index()].0
    }

    /// Its name in the catalog, as in `Science Fiction`, `heist`, `the eighties`.
    pub fn name(self) -> &'static str {
        WORDS[self.index()].1
    }

    /// The phrases that people say for it, as in `sci-fi`, `a heist`, `from the 80s`. No phrase
    /// belongs to two features.
    pub fn phrases(self) -> &'static [&'static str] {
        WORDS[self.index()].2
    }

    /// Its place in [`Feature::all`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Feature> for String {
    fn from(feature: Feature) -> Self {
        feature.name().into()
    }
}

impl TryFrom<String> for Feature {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::all()
            .find(|feature| feature.name() == name)
            .ok_or_else(|| {
                format!("`{name}` is no feature; expected a genre, theme or era such as `heist`")
            })
    }
}

/// A kind, a name, and the phrases that people say for it.
type Word = (Kind, &'static str, &'static [&'static str]);

/// The first year of every era but the first.
const ERA_STARTS: [i32; 5] = [1960, 1980, 1990, 2000, 2010];
const FIRST_ERA: usize = WORDS.len() - ERA_STARTS.len() - 1;

#[rustfmt::skip]
static WORDS: [Word; 88] = [
    // These fit "a good ... movie".
    (Genre, "Action", &["action"]),
    (Genre, "Adventure", &["adventure"]),
    (Genre, "Animation", &["animated", "cartoon"]),
    (Genre, "Comedy", &["comedy", "funny"]),
    (Genre, "Crime", &["crime"]),
    (Genre, "Drama", &["drama", "dramatic"]),
    (Genre, "Fantasy", &["fantasy"]),
    (Genre, "Horror", &["horror", "scary"]),
    (Genre, "Musical", &["musical"]),
    (Genre, "Romance", &["romance", "romantic"]),
    (Genre, "Science Fiction", &["sci-fi", "science fiction"]),
    (Genre, "Thriller", &["thriller", "suspense"]),
    (Genre, "War", &["war"]),
    (Genre, "Western", &["western"]),
    // These fit "with ..." and "about ...".
    (Theme, "aliens", &["aliens"]),
    (Theme, "animals", &["animals"]),
    (Theme, "apocalypse", &["the apocalypse", "the end of the world"]),
    (Theme, "artists", &["artists"]),
    (Theme, "boxing", &["boxing"]),
    (Theme, "cars", &["cars"]),
    (Theme, "christmas", &["christmas"]),
    (Theme, "class divide", &["the rich and the poor"]),
    (Theme, "cold war", &["the cold war"]),
    (Theme, "coming of age", &["coming of age", "growing up"]),
    (Theme, "con artists", &["con artists", "swindlers"]),
    (Theme, "conspiracy", &["a conspiracy"]),
    (Theme, "courtroom", &["a courtroom", "a trial"]),
    (Theme, "dance", &["dance", "dancing"]),
    (Theme, "detective", &["a detective", "detectives"]),
    (Theme, "dinosaurs", &["dinosaurs"]),
    (Theme, "dreams", &["dreams"]),
    (Theme, "drugs", &["drugs"]),
    (Theme, "dystopia", &["a dystopia", "a dark future"]),
    (Theme, "friendship", &["friendship", "friends"]),
    (Theme, "gangsters", &["gangsters", "the mafia"]),
    (Theme, "ghosts", &["ghosts"]),
    (Theme, "heist", &["a heist", "a robbery"]),
    (Theme, "high school", &["high school"]),
    (Theme, "hitman", &["a hitman"]),
    (Theme, "journalists", &["journalists", "reporters"]),
    (Theme, "kidnapping", &["a kidnapping"]),
    (Theme, "loneliness", &["loneliness", "lonely people"]),
    (Theme, "madness", &["madness"]),
    (Theme, "magic", &["magic"]),
    (Theme, "marriage", &["marriage"]),
    (Theme, "martial arts", &["martial arts", "kung fu"]),
    (Theme, "memory", &["memory", "memories"]),
    (Theme, "monsters", &["monsters"]),
    (Theme, "music", &["music", "musicians"]),
    (Theme, "noir", &["noir"]),
    (Theme, "obsession", &["obsession"]),
    (Theme, "pirates", &["pirates"]),
    (Theme, "plot twist", &["a plot twist", "a big twist"]),
    (Theme, "politics", &["politics"]),
    (Theme, "prison", &["prison"]),
    (Theme, "racism", &["racism"]),
    (Theme, "religion", &["religion", "faith"]),
    (Theme, "revenge", &["revenge"]),
    (Theme, "road trip", &["a road trip"]),
    (Theme, "robots", &["robots"]),
    (Theme, "royalty", &["royalty", "kings and queens"]),
    (Theme, "samurai", &["samurai"]),
    (Theme, "satire", &["satire"]),
    (Theme, "sea", &["the sea", "the ocean"]),
    (Theme, "serial killer", &["a serial killer"]),
    (Theme, "show business", &["show business"]),
    (Theme, "small town", &["a small town"]),
    (Theme, "space", &["space", "outer space"]),
    (Theme, "spies", &["spies", "secret agents"]),
    (Theme, "sports", &["sports"]),
    (Theme, "superheroes", &["superheroes"]),
    (Theme, "survival", &["survival"]),
    (Theme, "teachers", &["teachers"]),
    (Theme, "time travel", &["time travel", "time loops"]),
    (Theme, "toys", &["toys"]),
    (Theme, "treasure", &["treasure"]),
    (Theme, "true story", &["a true story", "real events"]),
    (Theme, "vampires", &["vampires"]),
    (Theme, "vietnam war", &["the vietnam war"]),
    (Theme, "wilderness", &["the wilderness"]),
    (Theme, "world war two", &["world war two"]),
    (Theme, "zombies", &["zombies"]),
    // These fit "a good movie ...".
    (Era, "the golden age", &["from the golden age", "from before 1960"]),
    (Era, "the sixties and seventies", &["from the 60s or 70s"]),
    (Era, "the eighties", &["from the 80s", "from the eighties"]),
    (Era, "the nineties", &["from the 90s", "from the nineties"]),
    (Era, "the two thousands", &["from the 2000s"]),
    (Era, "recent years", &["from recent years", "made after 2010"]),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_phrases_are_unique() {
        let names: HashSet<_> = Feature::all().map(Feature::name).collect();
        assert_eq!(names.len(), WORDS.len());
        let phrases: Vec<_> = Feature::all().flat_map(Feature::phrases).collect();
        assert_eq!(phrases.iter().collect::<HashSet<_>>().len(), phrases.len());
    }

    #[test]
    fn eras_begin_with_their_first_year() {
        let name = |year| Feature::of_year(year).name();
        assert_eq!(name(1959), "the golden age");
        assert_eq!(name(1960), "the sixties and seventies");
        assert_eq!(name(1989), "the eighties");
        assert_eq!(name(1990), "the nineties");
        assert_eq!(name(2009), "the two thousands");
        assert_eq!(name(2010), "recent years");
        assert!(
            Feature::of_year(1930).kind() == Kind::Era
                && Feature::of_year(2023).kind() == Kind::Era
        );
    }
}
