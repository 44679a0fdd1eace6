"""Builds the documentation's site into build/docs/site, and fails for whatever is wrong in it.

Pages, and the files of the repository that they link to, are copied to the same paths below build/docs/source: so one
relative link serves on GitHub and on the site. Zensical's strict mode refuses links and anchors that lead nowhere. What
it does not look at is checked in the HTML: links to other files, anchors of the API's reference, and that no page asks
another server for anything.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOP = Path(__file__).resolve().parents[1]
SOURCE, SITE = TOP / "build/docs/source", TOP / "build/docs/site"
LINK = re.compile(r"\]\(([^)\s#]+)|<img[^>]*\bsrc=\"([^\"#]+)", re.IGNORECASE)


def reached() -> set[Path]:
    """Return every page of docs/, and every file that can be reached from them and from README.md by relative links."""
    found: set[Path] = set()
    ahead = [TOP / "README.md", *(TOP / "docs").rglob("*.md")]
    while ahead:
        file = ahead.pop()
        if file in found:
            continue
        if not file.is_file() or TOP not in file.parents:
            sys.exit(f"a link leads to {os.path.relpath(file, TOP)}, which is no file of this repository")
        found.add(file)
        if file.suffix == ".md":
            targets = [one or other for one, other in LINK.findall(without_code(file.read_text()))]
            ahead += [(file.parent / unquote(target)).resolve() for target in targets if not urlsplit(target).scheme]
    return found


def without_code(text: str) -> str:
    """Return Markdown without what is quoted as code, where brackets are no links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^    .*$", "", text, flags=re.MULTILINE))


class Page(HTMLParser):
    """What a page of the site has and wants: its anchors, its links, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag has and wants."""
        has = {name: value or "" for name, value in attrs}
        self.anchors |= {has[name] for name in ("id", "name") if name in has}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        elif "src" in has:
            self.loads.append(has["src"])
        elif tag == "link" and has.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(has.get("href", ""))


def mistakes() -> list[str]:
    """Return what is wrong in the built site, a line for each."""
    pages = {file: Page(file) for file in SITE.rglob("*.html") if file.name != "404.html"}
    wrong = []
    for file, page in pages.items():
        name = file.relative_to(SITE)
        wrong += [f"{name} loads {place}" for place in page.loads if urlsplit(place).netloc]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.exists():
                wrong.append(f"{name} links to {link}: there is no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{name} links to {link}: there is no such anchor")
    return wrong


def main() -> None:
    """Build the site and check it."""
    shutil.rmtree(SOURCE.parent, ignore_errors=True)
    files = reached()
    for file in files:
        copy = SOURCE / file.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    named = set(re.findall(r"[\w/.-]+\.md$", (TOP / "mkdocs.yml").read_text(), re.MULTILINE))
    missing = sorted(str(file.relative_to(TOP)) for file in (TOP / "docs").rglob("*.md"))
    missing = [page for page in missing if page not in named]
    if missing:
        sys.exit(f"mkdocs.yml has no place in `nav` for {', '.join(missing)}")
    program = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [program, "build", "--strict", "--clean"], cwd=TOP, text=True, capture_output=True, check=False
    )
    if built.returncode or "Warning" in built.stdout + built.stderr:
        sys.exit(built.stdout + built.stderr)
    wrong = mistakes()
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{SITE.relative_to(TOP)}/index.html: {len([file for file in files if file.suffix == '.md'])} pages")


if __name__ == "__main__":
    main()
