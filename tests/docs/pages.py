"""What the pages of the documentation say, as Markdown has it: links, headings, code."""

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
README = TOP / "README.md"
USERS = sorted((TOP / "docs").glob("*.md"))
MAINTAINERS = sorted((TOP / "docs/maintainers").glob("*.md"))
PAGES = [README, *USERS, *MAINTAINERS]


def prose(text):
    """A page without its blocks of code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    (?! *- ).*$", "", text, flags=re.MULTILINE)


def blocks(text):
    """A page's blocks of code: with the language that they name, if they name one."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    yield from fenced.findall(text)
    for indented in re.findall(r"(?:(?:^|\n)\n)((?:    .*\n|\n(?=    ))+)", fenced.sub("", text)):
        yield "", re.sub(r"^    ", "", indented, flags=re.MULTILINE)


def links(text):
    """Where a page's links and pictures lead."""
    text = re.sub(r"`[^`\n]*`", "", prose(text))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img[^>]*\bsrc="([^"]+)', text)


def anchors(text):
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    headings = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
