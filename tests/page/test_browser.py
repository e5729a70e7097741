"""The page in a real browser: what a reader sees is what the tables hold, and nothing leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from routelmt.page.build import page as built
from routelmt.page.registry import REQUIRED
from routelmt.page.sources import read_sources
from tests.page import examples
from tests.page.examples import DIRECTIONS, MARKUP, ROLES, SETTINGS, UNDEFINED, write_examples

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium or Chrome here; `make setup-chromium` installs it"
)
# Without a sandbox, since tests often run as root; without anything that would use the network.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update")  # fmt: skip
LAUNCH_SECONDS = 180  # a busy machine starts a browser slowly
LARGEST = 3_000_000  # bytes
LAST_DIGIT = 0.0050001  # half of the last digit that is shown


class Seen(NamedTuple):
    """A page in the browser, what it said on its console, and what it asked for."""

    page: Any
    messages: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=list(FLAGS),
            timeout=1000 * LAUNCH_SECONDS,
            viewport={"width": 1200, "height": 900},
        )
        context.set_default_timeout(30_000)
        yield context
        context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    path = folder / "page.html"
    path.write_text(built(read_sources(write_examples(folder)), SETTINGS), encoding="utf-8")
    return path


def opened(browser: Any, file: Path) -> Seen:
    page, messages, requests = browser.new_page(), [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    return Seen(page, messages, requests)


@pytest.fixture
def seen(browser: Any, file: Path) -> Iterator[Seen]:
    found = opened(browser, file)
    yield found
    assert found.messages == []
    found.page.close()


@pytest.fixture(scope="module")
def frames(file: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in file.parent.glob("*.parquet")}


def cells(page: Any, table: str, row: int) -> list[str]:
    """Texts of a body row of the first table in a section."""
    found = page.locator(f"#{table} table").first.locator("tbody tr").nth(row).locator("td")
    return [text.strip() for text in found.all_inner_texts()]


def listed(page: Any) -> dict[str, tuple[str, str]]:
    """{router: (quality, interval)} of the list beside the Pareto chart."""
    rows = page.locator("#pareto tbody tr").all_inner_texts()
    parts = [[part.strip() for part in row.replace("\t", "\n").split("\n")] for row in rows]
    parts = [[part for part in row if part] for row in parts]
    return {name.removesuffix(" (expectation)"): (value, ends) for name, value, ends in parts}


def test_it_renders_without_a_word_on_the_console_or_a_request(seen: Seen, file: Path) -> None:
    assert seen.requests == [file.as_uri()]
    assert seen.page.title() == "demo: which requests deserve the large model?"
    titles = seen.page.locator("h2").all_inner_texts()
    assert len(titles) == 20 and titles[0] == "The answer"
    assert seen.page.locator("#contents a").all_inner_texts() == titles
    text = seen.page.inner_text("body")
    for nonsense in ("undefined undefined", "NaN", "null", "[object", "Infinity"):
        assert nonsense not in text


def test_nothing_can_be_fetched_or_injected(browser: Any, file: Path) -> None:
    found = opened(browser, file)
    outcome = found.page.evaluate(
        "fetch('https://example.org/').then(() => 'sent', () => 'refused')"
    )
    assert outcome == "refused" and found.requests == [file.as_uri()]
    found.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        " document.body.append(s); }"
    )
    assert found.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in message for message in found.messages)
    found.page.close()


def test_a_toggled_router_is_not_drawn(seen: Seen) -> None:
    curves = seen.page.locator("#pareto .series")
    assert curves.count() == len(ROLES)
    own = seen.page.locator('#pareto .series[data-series="routelmt"]')
    box = seen.page.locator('#pareto input[data-router="routelmt"]')
    box.uncheck()
    assert own.count() == 0 and curves.count() == len(ROLES) - 1
    box.check()
    assert own.count() == 1
    seen.page.get_by_role("button", name="Deployable only").click()
    assert curves.count() == sum(role != "oracle" for role in ROLES.values())
    seen.page.get_by_role("button", name="None", exact=True).click()
    assert curves.count() == 0 and not box.is_checked()
    seen.page.get_by_role("button", name="All routers").click()
    assert curves.count() == len(ROLES)


@pytest.mark.parametrize("direction", ["average", "ru-en"])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.437, 1.0])
def test_direction_and_p_show_the_values_of_the_table(
    seen: Seen, frames: dict[str, pd.DataFrame], direction: str, p: float
) -> None:
    own = frames["pareto"].query("direction == @direction and call_rate <= @p + 1e-9")
    rates = own["call_rate"].unique()
    names = [name for name in ("average over the directions", "ru-en (Russian to English)")
             if name.startswith(direction)]  # fmt: skip
    seen.page.locator("#pareto select").select_option(label=names[0])
    seen.page.locator("#p-number").fill(f"{100 * p:g}")
    seen.page.locator("#p-number").press("Enter")
    found = listed(seen.page)
    assert set(found) == set(ROLES)
    # At most one in four points of the table is on the page: look it up at the rate it says.
    said = seen.page.locator("#pareto .readout").inner_text().split("p = ")[1]
    rate = float(said.split("%")[0]) / 100
    assert 0 <= p - rate < 4 / 1050 + 1e-4
    nearest = min(rates, key=lambda own: abs(own - rate))
    for row in own[own["call_rate"] == nearest].itertuples():
        value, ends = found[row.router]
        shown = [float(value), *map(float, ends.strip("[]").split(", "))]
        assert shown == pytest.approx([row.quality, row.low, row.high], abs=LAST_DIGIT)


def test_the_slider_and_a_click_choose_p_too(seen: Seen) -> None:
    seen.page.locator("#p-slider").focus()
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.locator("#p-number").input_value() == "31"
    box = seen.page.locator("#pareto .chart svg").first.bounding_box()
    seen.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    assert 40 < float(seen.page.locator("#p-number").input_value()) < 60


def test_hovering_reads_the_values_off(seen: Seen, frames: dict[str, pd.DataFrame]) -> None:
    tip = seen.page.locator("#pareto .tip")
    assert tip.is_hidden()
    picture = seen.page.locator("#pareto .chart > svg")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    seen.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    lines = tip.inner_text().split("\n")
    rate = float(lines[0].removeprefix("p: ").removesuffix(" %")) / 100
    own = frames["pareto"].query("router == 'entropy' and direction == 'average'")
    near = own.iloc[(own["call_rate"] - rate).abs().argsort().iloc[0]]
    shown = next(line for line in lines if line.strip().startswith("entropy"))
    assert float(shown.split()[1]) == pytest.approx(near["quality"], abs=0.02)
    seen.page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_the_arrow_keys_read_the_values_off(seen: Seen) -> None:
    picture = seen.page.locator("#pareto .chart > svg")
    picture.focus()
    picture.press("End")
    assert "p: 100 %" in seen.page.locator("#pareto .tip").inner_text()
    picture.press("ArrowLeft")
    assert "p: 100 %" not in seen.page.locator("#pareto .tip").inner_text()
    picture.press("Escape")
    assert seen.page.locator("#pareto .tip").is_hidden()


def test_the_table_of_routers_has_values_intervals_and_reasons(
    seen: Seen, frames: dict[str, pd.DataFrame]
) -> None:
    frame = frames["routers"]
    own = frame[(frame.direction == "average") & (frame.budget == 0.3)]
    deltas = own[own.metric == "mean_delta"].set_index("router").sort_values("value")[::-1]
    for at, (_, row) in enumerate(deltas.iterrows()):
        value, ends = cells(seen.page, "routers", at)[1].split("\n")
        assert (value, ends) == (f"{row['value']:.2f}", f"[{row['low']:.2f}, {row['high']:.2f}]")
    undefined = next(c for c in (cells(seen.page, "routers", i) for i in range(len(ROLES)))
                     if c[0] == "rarity")  # fmt: skip
    assert f"undefined: {UNDEFINED}" in undefined[4]
    seen.page.locator("#routers select").nth(1).select_option(label="50 %")
    first = frame[(frame.direction == "average") & (frame.budget == 0.5)]
    best = first[first.metric == "mean_delta"]["value"].max()
    assert cells(seen.page, "routers", 0)[1].split("\n")[0] == f"{best:.2f}"


def test_a_heading_sorts_and_sorts_the_other_way(
    seen: Seen, frames: dict[str, pd.DataFrame]
) -> None:
    head = seen.page.locator("#routers th").nth(3)
    own = frames["routers"].query(
        "direction == 'average' and budget == 0.3 and metric == 'hit_rate'"
    )
    values = sorted(own["value"], reverse=True)
    for order, expected in (("descending", values), ("ascending", values[::-1])):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        found = [cells(seen.page, "routers", i)[3].split("\n")[0] for i in range(len(ROLES))]
        assert found == [f"{value:.1f}" for value in expected]
    seen.page.locator("#routers th").nth(4).get_by_role("button").click()
    assert cells(seen.page, "routers", len(ROLES) - 1)[0] == "rarity"  # undefined comes last


def test_guards_are_shown_with_what_they_cost(seen: Seen, frames: dict[str, pd.DataFrame]) -> None:
    own = frames["guard_costs"].query("direction == 'average' and budget == 0.3")
    assert seen.page.locator("#guard-costs tbody tr").count() == len(own)
    row = own[(own.guard == "routelmt-q") & (own["quantile"] == 0.5)].iloc[0]
    found = next(c for c in (cells(seen.page, "guard-costs", i) for i in range(len(own)))
                 if c[:2] == ["routelmt-q", "50"])  # fmt: skip
    assert found[2].split("\n")[0] == f"{100 * row['severe_loss']:.1f}"
    assert found[4] == f"{row['calibrated_seconds']:.2f}"
    assert found[6].split("\n")[1] == f"[{row['seconds_low']:.2f}, {row['seconds_high']:.2f}]"
    assert cells(seen.page, "guard-costs", len(own) - 1)[0] == "none: random (expectation)"
    seen.page.locator("#guard-costs select").nth(2).select_option(label="50 %")
    notes = [cells(seen.page, "guard-costs", i)[-1] for i in range(len(own))]
    assert notes.count("the guard routes alone") == 1
    assert "guard_costs.parquet" in seen.page.locator("#guard-costs .origin").inner_text()


def test_domains_stand_beside_the_rest(seen: Seen, frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["domains"].query("direction == 'average' and budget == 0.3")
    own = frame.query("router == 'routelmt' and metric == 'hit_rate'").set_index("domain")
    found = next(c for c in (cells(seen.page, "domains", i) for i in range(len(ROLES)))
                 if c[0] == "routelmt")  # fmt: skip
    for at, domain in enumerate(("medical", "colloquial", "in-domain"), start=1):
        row = own.loc[domain]
        assert found[at].split("\n") == [
            f"{row['value']:.1f}", f"[{row['low']:.1f}, {row['high']:.1f}]"
        ]  # fmt: skip
    assert [text.split("\n")[0] for text in found[4:]] == ["-9.3", "0.4"]
    seen.page.locator("#domains select").nth(1).select_option(label="ru-en (Russian to English)")
    assert "undefined: 3 requests, 30 are needed" in cells(seen.page, "domains", 0)[2]
    assert "domains.parquet" in seen.page.locator("#domains .origin").inner_text()


def test_transfer_puts_unseen_beside_seen_and_chance(seen: Seen) -> None:
    rows = [cells(seen.page, "transfer", i) for i in range(3)]
    own = next(row for row in rows if row[0] == "routelmt")
    assert [text.split("\n")[0] for text in own[1:]] == [
        "60.0", "30.0", "30.0", "0.010", "30.0", "0.020"
    ]  # fmt: skip
    assert rows[0][0] == "gain-oracle" and rows[0][3] == "–"
    told = seen.page.locator("#transfer .readout").inner_text()
    assert told.startswith("4,200 requests of 31 domains") and "7 requests are of" in told
    assert "transfer_comparisons.parquet" in seen.page.locator("#transfer .origin").inner_text()


def test_pairs_of_systems_are_sorted_and_filtered_by_keyboard(
    seen: Seen, frames: dict[str, pd.DataFrame]
) -> None:
    average = frames["atlas"].query("direction == 'average'").sort_values("mean_gain")
    section = seen.page.locator("#atlas")
    head = section.get_by_role("button", name="Mean gain")
    head.press("Enter")
    head.press("Space")  # the smallest first
    assert cells(seen.page, "atlas", 0)[:2] == average.iloc[0][["small", "large"]].tolist()
    assert head.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    choices = section.locator(".controls").first.locator("select")
    choices.nth(4).select_option(label="large-235b")
    assert section.locator("table").first.locator("tbody tr").count() == 2
    rows = [cells(seen.page, "atlas", i) for i in range(2)]
    assert [row[:2] for row in rows] == [[s, "large-235b"] for s in ("middle-32b", "small-7b")]
    assert "[" not in rows[0][2] and "[" in rows[1][2]  # an interval of the chosen pair alone
    choices.nth(1).select_option(label="en-ru (English to Russian)")
    assert section.locator("table").first.locator("tbody tr").count() == 1  # the chosen pair
    signals = section.locator("table").nth(1).locator("tbody tr")
    assert [row.split("\t")[0] for row in signals.all_inner_texts()] == [
        "gain (another metric's oracle)", "quality of the small", "router",
    ]  # fmt: skip


def test_a_pool_shows_every_policy_at_the_budget_of_its_slider(seen: Seen) -> None:
    seen.page.locator("#pool-budget").fill("5")
    assert "Budget 80 %" in seen.page.locator("#pool .readout").inner_text()
    rows = seen.page.locator("#pool tbody").first.locator("tr").all_inner_texts()
    assert len(rows) == 3 + 4  # the models alone, the mixture, and three policies of a router
    best = next(row for row in rows if row.startswith("probe\t"))
    assert "47.74" in best and "demo-small 20.0" in best and "demo-large-5-beams 80.0" in best
    seen.page.locator("#pool-budget").fill("0")
    own = seen.page.locator("#pool tbody").first.inner_text()
    assert "undefined: too dear" in own
    assert "not of both halves" in seen.page.locator("#pool").inner_text()


def test_of_many_routers_some_are_drawn_until_all_are_asked_for(
    browser: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = [f"router-{i}" for i in range(30)]
    many = ROLES | dict.fromkeys(extra, "router")
    monkeypatch.setattr(examples, "ROLES", many)
    usual = examples.worth
    monkeypatch.setattr(
        examples, "worth", lambda r: usual(r) if r not in extra else 0.9 - int(r[7:]) / 40
    )
    path = folder / "many.html"
    names = (*REQUIRED, "costs", "calibration")
    path.write_text(
        built(read_sources(write_examples(folder / "many", names)), SETTINGS), encoding="utf-8"
    )
    found = opened(browser, path)
    first = {"gain-oracle", "random", "routelmt", "routelmt-q", "entropy", "rarity", "length",
             *extra[:5]}  # fmt: skip
    curves = found.page.locator("#pareto .series")
    shown = curves.evaluate_all("found => found.map(e => e.dataset.series)")
    assert set(shown) == first and len(many) == 38
    assert "12 of 38 routers" in found.page.locator("#pareto .note").first.inner_text()
    found.page.get_by_role("button", name="All routers").click()
    assert curves.count() == len(many)
    found.page.get_by_role("button", name="As at first").click()
    assert curves.count() == len(first)
    lines = found.page.locator("#streaming .chart .series")
    assert lines.count() == len(first) - 1  # no oracle
    found.page.locator("#streaming .chart select").first.select_option(label="all routers")
    assert lines.count() == len(many) - 1
    assert found.messages == []
    found.page.close()


def test_texts_that_look_like_markup_are_texts(seen: Seen) -> None:
    assert MARKUP in seen.page.locator("#cases dd").first.inner_text()
    assert seen.page.locator("img").count() == 0
    assert seen.page.evaluate("window.ran") is None
    arabic = seen.page.locator("#cases dd bdi", has_text="مرحبا").first
    assert arabic.get_attribute("dir") == "auto"
    assert (
        seen.page.evaluate("e => getComputedStyle(e).direction", arabic.element_handle()) == "rtl"
    )


def test_cases_are_chosen_by_direction_router_and_kind(
    seen: Seen, frames: dict[str, pd.DataFrame]
) -> None:
    frame = frames["cases"].query("budget == 0.3")
    tally = seen.page.locator("#cases .readout")
    selects = seen.page.locator("#cases select")
    severe = frame[frame.kind == "severe_loss"]
    assert tally.inner_text() == f"{len(severe)} requests listed."
    selects.nth(1).select_option(label="zh-en (Chinese to English)")
    here = severe[severe.direction == "zh-en"]
    assert tally.inner_text() == f"{len(here)} requests listed."
    selects.nth(2).select_option(label="entropy")
    sent = here[["entropy" in routers for routers in here["routed_by"]]]
    assert tally.inner_text() == f"{len(sent)} requests listed." and 0 < len(sent) < len(here)
    shown = seen.page.locator("#cases .case").all_inner_texts()
    assert len(shown) == 10 and all("zh-en" in text and "entropy" in text for text in shown)
    assert f"gain {sent['gain'].iloc[0]:.1f}" in shown[0]
    seen.page.get_by_role("button", name="Show 5 more").click()
    assert seen.page.locator("#cases .case").count() == 15
    selects.nth(0).select_option(label="largest gains")
    assert "gain 29.0" in seen.page.locator("#cases .case").first.inner_text()


def test_every_choice_of_every_section_works(seen: Seen) -> None:
    """No choice ends in an error or in an empty table."""
    for at in range(seen.page.locator("select").count()):
        for option in range(min(4, seen.page.locator("select").nth(at).locator("option").count())):
            select = seen.page.locator("select").nth(at)
            if select.is_visible() and option < select.locator("option").count():
                select.select_option(index=option)
    assert "Nothing to show here." not in seen.page.inner_text("main")


def test_the_answers_follow_the_budget(seen: Seen, frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["routers"].query(
        "direction == 'average' and metric == 'mean_delta' and router == 'routelmt'"
    )
    for p, label in ((0.3, "30 %"), (0.5, "50 %")):
        seen.page.locator("#answer select").select_option(label=label)
        row = frame[frame.budget == p].iloc[0]
        expected = f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}] points of chrf each"
        assert expected in seen.page.locator("#answer .card").first.inner_text()


def test_what_needs_no_choice_is_named_all_the_same(seen: Seen) -> None:
    for section in ("guards", "guard-costs"):
        router = seen.page.locator(f"#{section} .choice").first
        assert router.inner_text().split("\n") == ["Ranked by", "routelmt"]
    for section in ("routers", "costs", "risk", "guards", "streaming", "drift"):
        assert "(by chrf)" in seen.page.locator(f"#{section} .origin").inner_text()
    assert "by" not in seen.page.locator("#data .origin").inner_text().split()


def test_every_number_leads_to_its_file_and_the_command_that_traces_it(
    seen: Seen, frames: dict[str, pd.DataFrame], file: Path
) -> None:
    assert seen.page.locator("#provenance .record").count() == len(frames)
    seen.page.locator("#risk .origin a").click()
    record = seen.page.locator("#table-risk_buckets")
    assert record.get_attribute("open") is not None
    path = file.parent / "risk_buckets.parquet"
    source = read_sources([path, *(file.parent / f"{name}.parquet" for name in REQUIRED)])
    text = record.inner_text()
    assert f"python -m routelmt audit {path}" in text
    for part in ("content", "code"):
        assert source["risk_buckets"].record[part] in text
    record.get_by_text("Made from 1 files").click()
    # The list is made by an event that comes after the click.
    record.locator("td", has_text=str(file.parent / "parent.txt")).wait_for()


def test_a_page_of_the_required_tables_alone_works(browser: Any, folder: Path) -> None:
    path = folder / "small.html"
    sources = read_sources(write_examples(folder / "few", REQUIRED))
    path.write_text(built(sources, SETTINGS), encoding="utf-8")
    found = opened(browser, path)
    titles = found.page.locator("section").evaluate_all("found => found.map(e => e.id)")
    assert titles == ["answer", "pareto", "routers", "words", "provenance"]
    assert found.messages == [] and found.page.locator("#pareto .series").count() == len(ROLES)
    found.page.close()


@pytest.mark.parametrize("width", [320, 375, 768])
def test_it_fits_a_phone(seen: Seen, width: int) -> None:
    seen.page.set_viewport_size({"width": width, "height": 800})
    seen.page.wait_for_timeout(100)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = seen.page.locator("#pareto .chart > svg").get_attribute("viewBox").split()[2]
    assert float(drawn) <= width


def test_it_prints(seen: Seen) -> None:
    assert seen.page.pdf(format="A4").startswith(b"%PDF")
    assert seen.page.locator("#table-routers").get_attribute("open") is not None


def test_it_is_small(file: Path) -> None:
    assert len(DIRECTIONS) == 4 and file.stat().st_size < LARGEST
