"""The site's own part: pages that are outside docs/, links between files, code, mathematics."""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/search.md": "search.md",
}
LINK = re.compile(r'(\]\(|src="|href=")(?!https?:|#)([^)"#\s]+)')
# A link to a line of a source file, which is on the site as a page with an anchor for each line.
CODE_LINK = re.compile(r"\[(`[^`]+`)\]\(\.\./([\w/]+\.py)#L(\d+)\)")
MATHEMATICS = re.compile(r'<(span|div) class="arithmatex">(\\[(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    for source in sorted({source for _, source, _ in CODE_LINK.findall(pages)}):
        code = (ROOT / source).read_text()
        content = f'# {source}\n\n~~~~ {{.python linenums="1"}}\n{code}~~~~\n'
        files.append(File.generated(config, f"source/{source}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri.startswith("source/"):
        return markdown
    sources = {page: source for source, page in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def on_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        return link[1] + OUTSIDE.get(target, target.removeprefix("docs/"))

    # As HTML, for MkDocs does not see the anchors inside a block of code.
    markdown = CODE_LINK.sub(r'<a href="source/\2.html#__codelineno-0-\3">\1</a>', markdown)
    return LINK.sub(on_site, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Write LaTeX as MathML: browsers show it by themselves, so nothing has to be loaded."""

    def mathml(found: re.Match[str]) -> str:
        latex = html.unescape(found[3])
        if found[1] == "span":
            return convert(latex)
        name = re.search(r"\\tag\{(\w+)\}", latex)
        formula = convert(latex.replace(name[0], "") if name else latex, display="block")
        number = f"<span>({name[1]})</span>" if name else ""
        return f'<div class="formula">{formula}{number}</div>'

    return MATHEMATICS.sub(mathml, content)
