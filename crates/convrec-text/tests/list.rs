//! The default parse reads lists back and undoes the decorations of models.

use std::time::Instant;

use convrec_core::Item;
use convrec_testdata::data_path;
use convrec_text::{ListFormat, Reason, Style, Years};
use proptest::prelude::*;

const FORMATS: [ListFormat; 4] = [
    ListFormat {
        style: Style::Plain,
        years: Years::Required,
    },
    ListFormat {
        style: Style::Plain,
        years: Years::Optional,
    },
    ListFormat {
        style: Style::Numbered,
        years: Years::Required,
    },
    ListFormat {
        style: Style::Numbered,
        years: Years::Optional,
    },
];

fn parsed(format: ListFormat, text: &str) -> Vec<Item> {
    format.parse(text).items().cloned().collect()
}

fn required(text: &str) -> Vec<Item> {
    parsed(ListFormat::default(), text)
}

fn optional(text: &str) -> Vec<Item> {
    parsed(
        ListFormat {
            years: Years::Optional,
            ..Default::default()
        },
        text,
    )
}

/// Every item of the real catalogs but the one without a title, alone and in lists of 20.
#[test]
fn every_item_of_the_catalogs_is_read_back() {
    #[derive(serde::Deserialize)]
    struct Row {
        title: String,
        year: Option<i32>,
    }
    for name in [
        "reddit_v2",
        "redial",
        "inspired",
        "opendialkg_movies",
        "opendialkg_books",
    ] {
        let Some(path) = data_path(&format!("catalog/{name}.jsonl")) else {
            return;
        };
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<Row>(line).unwrap());
        let items: Vec<Item> = rows
            .filter(|row| !row.title.is_empty())
            .map(|row| Item::new(row.title, row.year))
            .collect();
        assert!(items.len() > 1000);
        for format in FORMATS {
            let items: Vec<Item> = items
                .iter()
                .filter(|item| format.years == Years::Optional || item.year.is_some())
                .cloned()
                .collect();
            for size in [1, 20] {
                for list in items.chunks(size) {
                    assert_eq!(
                        parsed(format, &format.render(list)),
                        list,
                        "{name}, {format:?}"
                    );
                }
            }
        }
    }
}

/// All lines are the item "Heat (1995)", and without the rest of the line the title "Heat".
const DECORATED: &str = r#"
Heat (1995)
Heat  (1995)
Heat(1995)
Heat - (1995)
1. Heat (1995)
1.Heat (1995)
1) Heat (1995)
1.) Heat (1995)
1 - Heat (1995)
1: Heat (1995)
1、Heat (1995)
１. Heat (１９９５)
１．Heat (1995)
１）Heat (1995)
#1 Heat (1995)
### 1. Heat (1995)
# Heat (1995)
- Heat (1995)
* Heat (1995)
– Heat (1995)
> - Heat (1995)
• Heat (1995)
•Heat (1995)
*Heat* (1995)
_Heat_ (1995)
**Heat** (1995)
**Heat (1995)**
***Heat*** (1995)
**Heat** **(1995)**
Heat **(1995)**
1. **Heat** (1995)
**1. Heat** (1995)
**1. Heat (1995)**
**1.** Heat (1995)
**1**. Heat (1995)
**1.** **Heat** (1995)
1. ** Heat ** (1995)
"Heat" (1995)
"Heat (1995)"
'Heat' (1995)
“Heat” (1995)
‘Heat’ (1995)
«Heat» (1995)
1. **"Heat"** (1995)
"1. Heat (1995)"
Heat (1995).
Heat (1995) - a classic
Heat (1995): see also Ronin (1998)
Heat (1995) (dir. M. Mann)
1. Heat (1995):
"#;

#[test]
fn decorations_are_undone() {
    let odd_white_space = "\u{1f}Heat\u{a0}(1995)\r";
    for line in DECORATED.trim().lines().chain([odd_white_space]) {
        assert_eq!(required(line), [Item::new("Heat", 1995)], "{line}");
        assert_eq!(optional(line), [Item::new("Heat", 1995)], "{line}");
    }
    for line in [
        "Heat",
        "1. Heat",
        "1.Heat",
        "- Heat",
        "**Heat**",
        "\"Heat\"",
        "**1.** Heat",
    ] {
        assert_eq!(optional(line), [Item::new("Heat", None)], "{line}");
        assert_eq!(required(line), [], "{line}");
    }
}

/// All lines are the first item of a list, "Heat (1995)", in forms that models write.
const FORMS: &str = r#"
1. **Heat (1995):** a classic
1. **Heat (1995)** - a classic
"Heat (1995)," a classic
| 1 | **Heat (1995)** | a classic |
| 1 | Heat | 1995 |
| **1** | **Heat** | 1995 | like Ronin (1998) |
| Heat | 1995 |
1. [Heat (1995)](https://x.y/z)
1. [Heat](https://x.y/z_(1995)) (1995)
1. **[Heat](https://x.y/z)** (1995)
[[Heat (1995)]]
(1) Heat (1995)
[1] Heat (1995)
（1）Heat (1995)
【1】Heat (1995)
①Heat (1995)
❶ Heat (1995)
1️⃣ Heat (1995)
No. 1: Heat (1995)
Rank 1: **Heat** (1995)
#1: Heat (1995)
1\. Heat \(1995\)
- [ ] Heat (1995)
- [x] Heat (1995)
a) Heat (1995)
→ Heat (1995)
★ Heat (1995)
✔️ Heat (1995)
· Heat (1995)
🎬 **Heat (1995)**
🥇 Heat (1995)
• 1. Heat (1995)
『Heat』（1995）
《Heat》（1995年）
<li>Heat (1995)</li>
<li><b>Heat</b> (1995)</li>
<answer>1. Heat (1995)
Heat&nbsp;(1995)
["Heat (1995)"]
{"title": "Heat", "year": 1995}
"#;

#[test]
fn forms_that_models_write_are_read() {
    let invisible = ["\u{feff}1. Heat (1995)", "\u{200f}1. Heat (1995)"];
    for line in FORMS.trim().lines().chain(invisible) {
        assert_eq!(required(line), [Item::new("Heat", 1995)], "{line}");
        assert_eq!(optional(line), [Item::new("Heat", 1995)], "{line}");
    }
    // Titles of catalogs hold such marks, so they go where the catalog says so.
    let heat = Item::new("Heat", 1995);
    let list = ListFormat::default().parse_known("1. \u{200e}Heat\u{200f} (1995)", |i| *i == heat);
    assert!(list.items().eq([&heat]));
    let ocean = [Item::new("Ocean's & Co", 2001)];
    assert_eq!(required("Ocean&#39;s &amp; Co (2001)"), ocean);
    for line in [
        "1. **Heat (1995 American film)**",
        "Heat (1995 film)",
        "Heat [1995]",
        "1. Heat (dir. Michael Mann, 1995)",
    ] {
        assert_eq!(required(line), [Item::new("Heat", 1995)], "{line}");
    }
    // Without a year that must be there, these are titles; without a list mark, one is a remark.
    assert_eq!(
        optional("1. Moscow, 1937"),
        [Item::new("Moscow, 1937", None)]
    );
    let film = [Item::new("Heat (1995 film)", None)];
    assert_eq!(optional("Heat (1995 film)"), film);
    for line in [
        "We met in Paris, 1999",
        "1. Se7en, 1995",
        "   - Released: December 15, 1995",
        "🎬 Films like Heat (1995):",
        "[{\"title\": \" \", \"year\": 1995}]",
    ] {
        assert_eq!(required(line), [], "{line}");
    }
    let text = "{\"title\": \"A\\nB\", \"year\": 1995}";
    assert_eq!(required(text), [Item::new("A B", 1995)]);
}

#[test]
fn whole_answers_in_other_forms_are_read() {
    let items = [Item::new("Heat", 1995), Item::new("9", 2009)];
    for text in [
        "| # | Title | Year |\n|---|:-:|--|\n| 1 | Heat | 1995 |\n| 2 | 9 | 2009 |\n",
        "[\"Heat (1995)\", \"9 (2009)\"]",
        "[\n  \"Heat (1995)\",\n  \"9 (2009)\"\n]\n",
        "[{\"title\": \"Heat\", \"year\": 1995}, {\"name\": \"9\", \"year\": \"2009\"}]",
        "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"9\", \"year\": 2009}\n",
        "{\"movies\": [{\"rank\": 1, \"title\": \"Heat (1995)\"}, \"9 (2009)\"]}",
        "Sure:\n```json\n[\n  {\n    \"title\": \"Heat\",\n    \"year\": 1995\n  },\n  \
         {\"title\": \"9\", \"year\": 2009}\n]\n```\nEnjoy!",
        // Cut at a limit of tokens.
        "[\"Heat (1995)\", \"9 (2009)\", \"Al",
        "(1) Heat (1995)\n(2) 9 (2009)\n",
        "a) Heat (1995)\nb) 9 (2009)\n",
        "1️⃣ Heat (1995)\n2️⃣ 9 (2009)\n",
        "<ol>\n<li>Heat (1995)</li>\n<li>9 (2009)</li>\n</ol>",
    ] {
        assert_eq!(required(text), items, "{text}");
    }
    let text = "Hi\n[\n\"Heat (1995)\",\n\"9 (2009)\"]\nUp (2009)";
    let list = ListFormat::default().parse(text);
    let places = list.entries.iter().map(|e| (e.line, &text[e.span.clone()]));
    let expected = [
        (2, "\"Heat (1995)\""),
        (3, "\"9 (2009)\""),
        (4, "Up (2009)"),
    ];
    assert!(places.eq(expected));
}

/// Marks that titles begin with are list numbers only where they count from 1.
#[test]
fn titles_that_look_like_other_forms_stay() {
    for text in [
        "(500) Days of Summer (2009)\n(500) Days of Summer (2009)\n",
        "A.I. (2001)\nI, Robot (2004)\nM (1931)\nNo. 1 Chung Ying Street (1999)\n",
        "[REC] (2007)\n[Rec]² (2009)\nMovie 43 (2013)\nX (2022)\n★ (1999)\n💩 (2020)\n",
        "1917 (2019)\n9 (2009)\n300 (2006)\n1984 (1984)\n",
        "Q&A (1990)\nA&E; B (1999)\n<3 (2012)\n[x] (2001)\n",
    ] {
        for format in FORMATS {
            let items = parsed(format, text);
            assert_eq!(ListFormat::default().render(&items), text, "{format:?}");
        }
    }
}

/// Titles, some of them real ones, that must not be taken for decorated.
const TITLES: &str = r#"
(500) Days of Summer
#Alive
-30-
12 - Angry Men
24 - Redemption
2001: A Space Odyssey
3:10 to Yuma
300: Rise of an Empire
11.22.63
8-Bit Christmas
9
1917
'71
'Tis
Boundin'
Molly's Game
'Breaker' Morant
"Crocodile" Dundee
"A" and "B"
61*
Everything You Always Wanted to Know About Sex*
*batteries not included
M*A*S*H
[REC]
[Rec]²
$
???
Title #2
WALL·E
Movie (Part 1) The End
Title (a (b) c)
The Office (US)
Crossing (2)
"#;

#[test]
fn titles_that_look_like_decorations_stay() {
    for title in TITLES.trim().lines() {
        for year in [1999, 201, 7, -720, 0] {
            let item = [Item::new(title, year)];
            for format in FORMATS {
                let is_known_limit = title == "Crossing (2)" && year != 1999;
                assert_eq!(
                    parsed(format, &format.render(&item)) != item,
                    is_known_limit,
                    "{title}, {format:?}"
                );
            }
        }
    }
}

#[test]
fn numbers_are_list_numbers_where_they_count() {
    let titles = |text| {
        required(text)
            .into_iter()
            .map(|item| item.title)
            .collect::<Vec<_>>()
    };
    // In a plain list the numbers are parts of titles; in a numbered one they count.
    assert_eq!(
        titles("Up (2009)\n12 - Angry Men (1957)\nHeat (1995)"),
        ["Up", "12 - Angry Men", "Heat"]
    );
    assert_eq!(
        titles("1. Up (2009)\n2. 12 - Angry Men (1957)"),
        ["Up", "12 - Angry Men"]
    );
    // Markdown lets every number be 1. A list may go on from a former one. A preamble and a gap do
    // not matter.
    assert_eq!(
        titles("1. Up (2009)\n1. Heat (1995)\n1. M (1931)"),
        ["Up", "Heat", "M"]
    );
    assert_eq!(titles("21. Up (2009)\n22. Heat (1995)"), ["Up", "Heat"]);
    assert_eq!(
        titles("Sure:\n\n1.Up (2009)\n3.Heat (1995)\n4.M (1931)\n\nEnjoy!"),
        ["Up", "Heat", "M"]
    );
}

#[test]
fn what_is_no_item_says_why() {
    let text = "Here are films like Heat (1995):\n\n---\nEnjoy!\n3.\n (1995)\n";
    let list = ListFormat::default().parse(text);
    assert_eq!(list.entries, []);
    let found: Vec<(usize, &str, Reason)> = list
        .unparsed
        .iter()
        .map(|line| (line.line, text[line.span.clone()].trim(), line.reason))
        .collect();
    assert_eq!(
        found,
        [
            (0, "Here are films like Heat (1995):", Reason::Preamble),
            (2, "---", Reason::NoYear),
            (3, "Enjoy!", Reason::NoYear),
            (4, "3.", Reason::NoYear),
            (5, "(1995)", Reason::NoYear),
        ]
    );
    let list = ListFormat {
        years: Years::Optional,
        ..Default::default()
    }
    .parse("---\nUp\n");
    assert_eq!(
        (list.unparsed[0].reason, list.entries[0].line),
        (Reason::NoTitle, 1)
    );
}

#[test]
fn hostile_text_takes_linear_time() {
    let size = 1 << 19;
    let texts = [
        "(".repeat(size),
        "(1)".repeat(size / 3),
        "'".repeat(2 * size),
        "\"'".repeat(size),
        "- ".repeat(size),
        format!("*{}*{}", "x".repeat(size), " -".repeat(size / 2)),
        "1".repeat(2 * size),
        "1.\n".repeat(size / 3),
        "**".repeat(size),
        " ".repeat(2 * size),
        format!("a{}", " (".repeat(size)),
        "\n".repeat(2 * size),
        format!("{}{}", "'".repeat(size), "\"'".repeat(size / 2)),
        "(1994-".repeat(size / 3),
        format!("{})", "(1994".repeat(size / 3)),
        format!("{})", "(1994 film".repeat(size / 6)),
        format!("- {}", "(1999, ".repeat(size / 6)),
        "[".repeat(size),
        format!("{}](", "'[".repeat(size / 2)),
        "[\"".repeat(size / 2),
        "[{\n".repeat(size / 3),
        "[{\"a\":1},\n".repeat(size / 8),
        "{\"title\":\"a (1999)\"}\n{\"a\":[\n".repeat(size / 24),
        "[\"a (1999)\"]\n".repeat(size / 12),
        "|".repeat(size),
        "|-\n".repeat(size / 3),
        "&".repeat(size),
        "<li>".repeat(size / 4),
        "</b>".repeat(size / 4),
        "🎬 ".repeat(size / 5),
        "(1999 \r".repeat(size / 6),
    ];
    for text in texts {
        for format in FORMATS {
            let start = Instant::now();
            format.parse(&format!("{text} (1999)*"));
            format.parse(&format!("{text} (1999)'''''"));
            format.parse(&text);
            assert!(start.elapsed().as_secs_f64() < 3.0, "{:.20}...", text);
        }
    }
}

fn word() -> impl Strategy<Value = String> {
    // Titles begin with letters, so that they do not look decorated, and go on with characters of
    // real titles.
    "[A-Za-zéÀ七][A-Za-z0-9é'’.,!?&:*#²-]{0,6}[a-z0-9!?]"
}

fn item() -> impl Strategy<Value = Item> {
    let title = prop::collection::vec(
        prop_oneof![4 => word(), 1 => word().prop_map(|w| format!("({w})"))],
        1..5,
    )
    .prop_map(|words| words.join(" "));
    (title, -999..=9999).prop_map(|(title, year)| Item::new(title, year))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn what_is_rendered_is_parsed(
        items in prop::collection::vec(item(), 0..25),
        without in any::<bool>(),
    ) {
        for format in FORMATS {
            let years = |item: &Item| {
                item.year
                    .filter(|_| !(without && format.years == Years::Optional))
            };
            let items: Vec<Item> = items
                .iter()
                .map(|item| Item::new(item.title.clone(), years(item)))
                .collect();
            let text = format.render(&items);
            let list = format.parse(&text);
            prop_assert_eq!(list.items().cloned().collect::<Vec<_>>(), items.clone());
            for (rank, (entry, item)) in list.entries.iter().zip(&items).enumerate() {
                prop_assert_eq!(&text[entry.span.clone()], format.line(rank, item));
                prop_assert_eq!(entry.line, rank);
            }
        }
    }

    #[test]
    fn any_text_is_parsed_and_every_line_accounted_for(
        text in prop_oneof![any::<String>(), r#"[ ()"'1.*\n:A-]{0,80}"#],
    ) {
        for format in FORMATS {
            let list = format.parse(&text);
            let mut spans: Vec<_> = list
                .entries
                .iter()
                .map(|entry| (entry.line, entry.span.clone()))
                .collect();
            spans.extend(
                list.unparsed
                    .iter()
                    .map(|line| (line.line, line.span.clone())),
            );
            spans.sort_by_key(|(line, _)| *line);
            let mut rest = text.clone();
            for (line, span) in spans.into_iter().rev() {
                prop_assert_eq!(text[..span.start].matches('\n').count(), line);
                rest.replace_range(span, "");
            }
            let is_blank = rest
                .chars()
                .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c));
            prop_assert!(is_blank);
        }
    }
}

/// An item's own line is that item, also with titles that hold a year, have none, or look like list
/// marks.
#[test]
fn a_known_items_own_line_is_that_item() {
    let catalog: Vec<Item> = [
        ("Toy Story (1995)", None),
        ("Matrix, The (1999)", None),
        ("Seven (a.k.a. Se7en) (1995)", None),
        ("Babylon 5", None),
        ("Nothing:", None),
        ("???", None),
        ("1. Dune", Some(1984)),
        ("- Dash", Some(2011)),
        ("\"Quoted\"", Some(2012)),
        ("Movie (1995)", Some(2001)),
        ("Movie", Some(1995)),
        ("Foo", Some(12345)),
        (" Lead", Some(2000)),
        ("Heat", Some(1995)),
    ]
    .map(|(title, year)| Item::new(title, year))
    .into();
    for style in [Style::Plain, Style::Numbered] {
        for years in [Years::Required, Years::Optional] {
            let format = ListFormat { style, years };
            let list = format.parse_known(&format.render(&catalog), |item| catalog.contains(item));
            let items: Vec<Item> = list.items().cloned().collect();
            assert_eq!(items, catalog, "{format:?}");
        }
    }
    let text = "Sure:\n1. **Toy Story (1995)** - for all ages\n2) \"Matrix, The (1999)\"\n3. Up \
                (2009)\nBabylon 5\n";
    let list = ListFormat::default().parse_known(text, |item| catalog.contains(item));
    let items: Vec<&Item> = list.items().collect();
    let up = Item::new("Up", 2009);
    assert_eq!(items, [&catalog[0], &catalog[1], &up, &catalog[3]]);
    assert_eq!(list.unparsed.len(), 1);
}
