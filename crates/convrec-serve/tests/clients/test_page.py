"""The page, used as people use it: with a mouse, with fingers, and with a keyboard alone."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from serving import PATIENCE, Server

expect.set_options(1000 * PATIENCE)

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def ask(page, text="I loved Heat (1995). Something like it?"):
    page.get_by_label("What are you looking for?").fill(text)
    page.get_by_label("What are you looking for?").press("Enter")


def finished(page, items=5):
    """Waits for a whole list, and gives the names of its items."""
    expect(page.locator("#status")).to_have_text(
        f"{items} items, best first." if items != 1 else "1 item, best first."
    )
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#items > li")).to_have_count(items)
    return page.locator("#items .name").all_inner_texts()


def changed(page, act):
    """Does something that asks for another list; gives what was asked and the names."""
    with page.expect_request("**/v1/recommend") as sent:
        act()
    asked = json.loads(sent.value.post_data)
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")
    return asked, page.locator("#items .name").all_inner_texts()


def options(page):
    return page.locator("#found [role=option]")


def genres(page):
    return page.locator("#items .genres").all_inner_texts()


def test_a_list_fills_up_rank_by_rank(open_page, gate):
    page = open_page(gate.url)
    gate.allow(3)  # what was seen, and two items
    ask(page)
    expect(page.locator("#items > li")).to_have_count(2)
    expect(page.locator("#list")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#chips")).to_contain_text("Heat (1995)")
    gate.allow(5)
    expect(page.locator("#items > li")).to_have_count(4)
    gate.allow(None)
    names = finished(page)
    assert len(set(names)) == 5 and "Heat (1995)" not in names
    expect(page.locator("#turns .user")).to_contain_text("Something like it?")
    expect(page.locator("#turns .assistant")).to_contain_text(names[0])
    # A second turn is asked with all that was said before.
    asked, _ = changed(page, lambda: ask(page, "Something funny, rather"))
    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert names[4] in asked["messages"][1]["content"]


def test_a_list_is_stopped(open_page, gate):
    page = open_page(gate.url)
    gate.allow(2)
    ask(page)
    expect(page.locator("#items > li")).to_have_count(1)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#items > li")).to_have_count(1)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_what_is_not_wanted_goes(open_page):
    page = open_page()
    ask(page)
    first = finished(page)[0]
    down = page.get_by_role("button", name=f"Not this one: {first}")
    asked, names = changed(page, down.click)
    assert asked["exclude"] == [first] and first not in names and len(names) == 5
    chip = page.get_by_role("button", name=f"Remove: {first}, not wanted")
    asked, names = changed(page, chip.click)
    assert asked["exclude"] == [] and names[0] == first


def test_what_is_known_is_told(open_page):
    page = open_page()
    ask(page, "Something to laugh at")
    first = finished(page)[0]
    asked, names = changed(page, page.get_by_role("button", name=f"I know it: {first}").click)
    assert asked["seen"] == [first] and first not in names
    expect(page.locator("#chips")).to_contain_text(f"{first} seen")
    page.get_by_role("button", name="New conversation").click()
    for emptied in ("#turns li", "#items > li", "#chips li"):
        expect(page.locator(emptied)).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()


def test_genres_and_lengths_are_kept(open_page):
    page = open_page()
    ask(page)
    finished(page)
    page.get_by_label("of the genre").select_option("horror")
    add = page.get_by_role("button", name="Add")
    asked, names = changed(page, add.click)
    assert asked["only"] == {"items": [], "genres": ["horror"]}
    # There are three.
    assert len(names) == 3 and all("Horror" in of for of in genres(page))
    changed(page, page.get_by_role("button", name="Remove: horror, only").click)
    page.get_by_label("Genre", exact=True).select_option("at_most")
    page.get_by_label("items", exact=True).fill("0")
    page.get_by_label("of the genre").select_option("drama")
    asked, names = changed(page, add.click)
    assert asked["quotas"] == [{"genre": "drama", "at_most": 0}]
    assert len(names) == 5 and not any("Drama" in of for of in genres(page))
    length = page.get_by_label("List length")
    asked, names = changed(page, lambda: (length.fill("2"), length.press("Tab")))
    assert asked["n"] == 2 and len(names) == 2


def test_the_catalog_is_searched(open_page):
    page = open_page()
    ask(page)
    finished(page)
    box = page.get_by_label("Search the catalog")
    # What is no text stays none, and what is shown as a name is a text.
    box.fill("img src")
    option = page.get_by_role("option", name="<img src=x onerror=alert(1)> (2020)")
    expect(option).to_be_visible()
    box.fill("zzzz")
    expect(options(page)).to_have_count(1)
    expect(options(page)).to_have_attribute("aria-disabled", "true")
    # With the keyboard.
    page.get_by_label("and add it as").select_option("only")
    box.fill("alien")
    expect(options(page)).to_have_count(2)
    box.press("ArrowDown")
    box.press("ArrowDown")
    expect(options(page).nth(1)).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", "found-1")
    box.press("ArrowUp")
    asked, names = changed(page, lambda: box.press("Enter"))
    assert asked["only"]["items"] == names and "Alien" in names[0]
    # With the mouse; the name of an item is none of markup.
    box.fill("img")
    _, names = changed(page, option.click)
    assert sorted(names)[0] == "<img src=x onerror=alert(1)> (2020)" and len(names) == 2
    box.fill("alien")
    expect(options(page).first).to_be_visible()
    box.press("Escape")
    expect(page.locator("#found")).to_be_hidden()


def test_alternatives_show_on_hover_and_by_keyboard(open_page):
    page = open_page()
    ask(page)
    finished(page)
    line = page.locator("#items > li").nth(1)
    others = line.locator(".others")
    expect(others).to_be_hidden()
    at_rest(page)
    below = page.locator("#items > li").nth(2).bounding_box()
    line.hover()
    expect(others.locator("li")).to_have_count(3)
    expect(others).to_be_visible()
    assert page.locator("#items > li").nth(2).bounding_box() == below, "nothing moves"
    page.mouse.move(0, 0)
    expect(others).to_be_hidden()
    # The keyboard's focus shows them too, Escape hides them, Enter keeps them open.
    page.locator("#items .down").nth(1).focus()
    page.keyboard.press("Tab")
    expect(others).to_be_visible()
    page.keyboard.press("Escape")
    expect(others).to_be_hidden()
    page.keyboard.press("Enter")
    why = page.get_by_role("button", name="What else could stand at rank 2")
    expect(why).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Shift+Tab")
    expect(others).to_be_visible()


def test_alternatives_show_on_tap(open_page):
    page = open_page(**PHONE)
    ask(page)
    finished(page)
    line = page.locator("#items > li").first
    line.locator(".name").tap()
    expect(line.locator(".others li")).to_have_count(3)
    expect(line.locator(".others")).to_be_visible()
    line.locator(".why").tap()
    expect(line.locator(".others")).to_be_hidden()


def test_a_keyboard_is_enough(open_page):
    page = open_page()
    held = "document.activeElement.id || document.activeElement.className"
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the message")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("I loved Heat (1995).")
    page.keyboard.press("Enter")
    names = finished(page)
    expect(page.get_by_label("What are you looking for?")).to_be_focused()
    reached = []
    while len(reached) < 60 and (not reached or reached[-1] != "key"):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(held))
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            page.keyboard.press("Enter")
    wanted = ["send", *["up", "down", "why"] * 5, "search", "as", "rule", "genre", "add", "many"]
    assert [name for name in reached if name in wanted] == wanted
    assert reached[-1] == "key" and "chip" in reached
    # The focus stays at its rank when the list is written anew.
    page.locator("#items .down").nth(1).focus()
    asked, _ = changed(page, lambda: page.keyboard.press("Enter"))
    assert asked["exclude"] == [names[1]]
    expect(page.locator("#items .down").nth(1)).to_be_focused()


def test_another_catalog_while_the_page_is_open(browser, open_page):
    server = Server()
    try:
        page = open_page(server.url)
        expect(page.locator("#about")).to_contain_text("16 items")
        ask(page, "Something to laugh at")
        first, second, third = finished(page)[:3]
        changed(page, page.get_by_role("button", name=f"Not this one: {first}").click)
        changed(page, page.get_by_role("button", name=f"Not this one: {second}").click)
        # Later items move up: a page that kept their numbers would leave out others.
        server.reload(remove=[first], add=[{"title": "Tampopo", "year": 1985, "genres": ["Food"]}])
        server.reload(remove=[third])
        page.expected = ["400"]
        ask(page, "Go on")
        names = finished(page)
        assert not {first, second, third} & set(names)
        expect(page.locator("#about")).to_contain_text("15 items")
        expect(page.get_by_role("button", name=f"Remove: {first}, not wanted")).to_have_count(0)
        expect(page.get_by_role("button", name=f"Remove: {second}, not wanted")).to_have_count(1)
        expect(page.locator("#genre option[value=food]")).to_have_count(1)
        page.get_by_label("of the genre").select_option("food")
        _, names = changed(page, page.get_by_role("button", name="Add").click)
        assert names == ["Tampopo (1985)"]
    finally:
        server.kill()


def test_refusals_are_shown(open_page):
    page = open_page()
    ask(page)
    names = finished(page)
    page.expected = ["400"]
    page.get_by_label("Genre", exact=True).select_option("at_least")
    page.get_by_label("items", exact=True).fill("4")
    page.get_by_label("of the genre").select_option("horror")
    page.get_by_role("button", name="Add").click()
    trouble = page.get_by_role("alert")
    expect(trouble).to_contain_text("at least 4 of 3")
    # What was there is there still.
    assert page.locator("#items .name").all_inner_texts() == names
    expect(page.locator("#items .stale")).to_have_count(0)
    changed(page, page.get_by_role("button", name="Remove: horror, at least 4").click)
    expect(trouble).to_be_hidden()


def test_a_busy_server_is_waited_for(open_page):
    page = open_page()
    page.expected = ["429"]
    message = json.dumps({"error": {"message": "512 requests wait."}})
    busy = {"status": 429, "headers": {"Retry-After": "2"}, "body": message}
    page.route("**/v1/recommend", lambda route: route.fulfill(**busy))
    ask(page)
    expect(page.get_by_role("alert")).to_contain_text("512 requests wait. Try again in 2 s.")
    page.unroute("**/v1/recommend")
    page.get_by_role("button", name="Try again").click()
    finished(page)


def test_a_key_is_asked_for(browser, open_page):
    server = Server(keys="a-key-of-a-client")
    try:
        # The page loads without a key, and says that one is needed.
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        expect(page.get_by_role("alert")).to_contain_text("Authorization: Bearer")
        page.get_by_label("Kept in this tab alone").fill("a-key-of-a-client")
        page.get_by_label("Kept in this tab alone").press("Tab")
        expect(page.locator("#about")).to_contain_text("16 items")
        expect(page.get_by_role("alert")).to_be_hidden()
        ask(page)
        finished(page)
        context.close()
    finally:
        server.kill()


def test_an_answer_that_breaks_off(open_page, gate):
    page = open_page(gate.url)
    page.expected = ["ERR_", "net::"]
    gate.allow(3)
    ask(page)
    expect(page.locator("#items > li")).to_have_count(2)
    gate.cut()
    expect(page.get_by_role("alert")).to_contain_text("The answer broke off.")
    expect(page.locator("#items > li")).to_have_count(2)
    expect(page.locator("#list")).to_have_attribute("aria-busy", "false")
    gate.allow(None)
    page.get_by_role("button", name="Try again").click()
    finished(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_server_that_dies(open_page):
    server = Server()
    page = open_page(server.url)
    ask(page)
    names = finished(page)
    server.kill()
    page.expected = ["ERR_", "net::"]
    ask(page, "Another one?")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    assert page.locator("#items .name").all_inner_texts() == names


def test_a_phone_has_room_for_all(open_page):
    page = open_page(viewport={"width": 1280, "height": 900})
    ask(page, "Heat (1995), " + "a" * 300)
    finished(page)
    page.get_by_label("Search the catalog").fill("strangelove")
    long = page.get_by_role("option", name="Dr. Strangelove")
    page.get_by_label("and add it as").select_option("only")
    page.get_by_label("Search the catalog").fill("strangelov")
    changed(page, long.click)
    page.get_by_label("Genre", exact=True).select_option("at_most")
    page.get_by_text("Key of this server").click()
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        across = page.evaluate("document.scrollingElement.scrollWidth")
        assert across <= width, f"{across} pixels at {width}"
        for control in page.locator("button:visible, input:visible, select:visible").all():
            control.scroll_into_view_if_needed()
            box = control.bounding_box()
            name = control.evaluate("(it) => it.id || it.className")
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (name, width, box)
            assert min(box["width"], box["height"]) >= 24, (name, width, box)
            # Nothing lies over it.
            at = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
            hit = "(it, [x, y]) => it.contains(document.elementFromPoint(x, y))"
            assert control.evaluate(hit, at), (name, width, box)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(open_page, scheme, width):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 844})
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground[4:-1].split(",")) / 3
    assert (brightness > 200) == (scheme == "light"), ground
    accessible(page)
    ask(page)
    finished(page)
    page.get_by_text("Key of this server").click()
    page.locator("#items .why").first.click()
    page.get_by_label("Search the catalog").fill("alien")
    page.get_by_label("Search the catalog").press("ArrowDown")
    expect(options(page)).to_have_count(2)
    accessible(page)
    page.get_by_label("Search the catalog").press("Escape")
    page.expected = ["400"]
    page.get_by_label("Genre", exact=True).select_option("at_least")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("of the genre").select_option("horror")
    page.get_by_label("items", exact=True).fill("5")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_be_visible()
    accessible(page)


def at_rest(page):
    """Waits for the end of all that moves or fades in."""
    page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")


def accessible(page):
    at_rest(page)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_scripts_from_elsewhere_do_not_run(open_page):
    page = open_page()
    page.expected = ["Content Security Policy", "script-src"]
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran === undefined")
    sent = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in sent and "unsafe" not in sent
