"""What every page of the documentation keeps to, and what is true in the code that a page lists."""

import ast
import re

import pytest
from pages import MAINTAINERS, PAGES, README, TOP, USERS, anchors, links, prose

import otel_kfs
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED

PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@PAGE
def test_every_link_leads_to_a_file_and_to_an_anchor_that_github_makes(page):
    wrong = []
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.is_file() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    assert wrong == []


@PAGE
def test_a_page_begins_with_a_sentence_on_what_it_answers(page):
    title, _, first = page.read_text().partition("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert re.match(r"[A-Z`]", first), "a page begins with a sentence, not with a table, a list or code"


@PAGE
def test_no_page_says_to_install_from_an_index(page):
    assert re.findall(r"pip install otel-kfs|pip install '?otel-kfs\[[\w,]+\]'?(?! @)", page.read_text()) == []


@pytest.mark.parametrize("page", [README, *USERS], ids=lambda page: page.stem)
def test_what_is_for_maintainers_is_on_pages_of_its_own(page):
    """Names of tests, goals, and what misses them."""
    assert re.findall(r"`[\w/]*test_\w+|\*\*Missed|[Tt]he goals? (?:is|was|are)\b", page.read_text()) == []


def test_every_page_has_a_place_on_the_site():
    named = set(re.findall(r"[\w/.-]+\.md$", (TOP / "mkdocs.yml").read_text(), re.MULTILINE))
    assert {str(page.relative_to(TOP)) for page in PAGES} - named == set()
    assert [name for name in named if not (TOP / name).is_file()] == []


def test_every_reason_to_leave_an_image_out_is_explained():
    explained = (TOP / "docs/no-images.md").read_text()
    assert [reason for reason in sorted(reasons()) if reason not in explained] == []


def test_no_reason_is_explained_that_the_program_does_not_give():
    page = (TOP / "docs/no-images.md").read_text()
    table = page[page.index("## Images are left out") : page.index("## `--expect` gives up")]
    rows = re.findall(r"^\| (`+ ?.+?`+(?:, `.+?`)*) \|", table, re.MULTILINE)
    explained = {reason.strip("` ") for row in rows for reason in re.split(r"(?<=`), (?=`)", row)}
    assert explained == {reason.strip("` ") for reason in reasons()}


def test_the_words_of_an_empty_measurement_are_explained():
    """What the command says in place of a reason, where no image has one."""
    explained = (TOP / "docs/no-images.md").read_text()
    table = explained[explained.index("## Nothing is there") : explained.index("## Images are left out")]
    said = (TOP / "otel_kfs/reader/no_images.py").read_text() + (TOP / "otel_kfs/report/coverage_lines.py").read_text()
    quoted = re.findall(r"^\| (`+) ?(.+?) ?\1 \|", table, re.MULTILINE)
    assert len(quoted) == 4
    assert [text for _, text in quoted if text.replace("send image", "{semconv.SEND_IMAGE}") not in said] == []


def test_the_reference_has_every_public_name():
    shown = re.findall(r"^::: otel_kfs\.([\w.]+)$", (TOP / "docs/api.md").read_text(), re.MULTILINE)
    assert {name for name in otel_kfs.__all__ if name != "__version__"} - {
        name.split(".")[0] for name in shown
    } == set()


def reasons():
    """Every reason that the code can give, with `...` for what it fills in."""
    found = set()
    for file in (TOP / "otel_kfs/analysis").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "LeftOut":
                found |= set(texts(node.args[0]))
            if isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "left_out":
                found |= set(texts(node.slice))
    return found


def texts(node):
    """The texts that an expression can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else named(part.value) for part in node.values]
        yield "".join(parts)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.Name) and node.id == "NOT_PROCESSED":
        yield NOT_PROCESSED
    elif not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "str"):
        raise AssertionError(f"a reason that this test can't read: {ast.unparse(node)}")


def named(value):
    """What stands for a value in a reason."""
    return "send image" if getattr(value, "attr", "") == "SEND_IMAGE" else "..."


def test_every_test_that_a_maintainer_s_page_names_is_there():
    names = {path.name for path in (TOP / "tests").rglob("*.py")}
    source = "\n".join(path.read_text() for path in (TOP / "tests").rglob("*.py"))
    gone = []
    for page in MAINTAINERS:
        for name in re.findall(r"`((?:tests/)?[\w/]*test_\w+(?:\.py)?)`", prose(page.read_text())):
            there = name.rpartition("/")[2] in names if name.endswith(".py") else f"def {name}(" in source
            if not there or ("/" in name and not (TOP / name).exists()):
                gone.append(name)
    assert gone == []


def test_the_readme_can_be_read_in_five_minutes():
    assert len(README.read_text().splitlines()) <= 130
