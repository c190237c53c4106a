"""Makes the README's links absolute, as the package index needs them, and names the repository.

python .ci/links.py FOLDER OWNER/NAME REF

Changes README.md and pyproject.toml in FOLDER, a clone that is built for a release. REF is the tag
or the commit that the links lead to.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PICTURES = (".gif", ".jpg", ".png", ".svg", ".webp")


def absolute(text: str, home: str, ref: str) -> str:
    """Return Markdown whose relative links lead to a repository; code stays as it is."""

    def link(found: re.Match[str]) -> str:
        before, target = found.groups()
        if re.match(r"[a-z]+:|#|/", target):
            return found[0]
        kind = "raw" if target.endswith(PICTURES) else "blob"
        return f"{before}{home}/{kind}/{ref}/{target}"

    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", text, flags=re.DOTALL | re.MULTILINE)
    links = r"(\]\(|^\[[^\]\n]+\]: +|<img [^>]*?src=\"|srcset=\"|<a [^>]*?href=\")([^\s)\"]+)"
    parts[::2] = [re.sub(links, link, part, flags=re.MULTILINE) for part in parts[::2]]
    return "".join(parts)


def main(folder: Path, repository: str, ref: str) -> None:
    """Change the two files in `folder`."""
    home = f"https://github.com/{repository}"
    readme, project = folder / "README.md", folder / "pyproject.toml"
    readme.write_text(absolute(readme.read_text(), home, ref))
    urls = (
        f'[project.urls]\nRepository = "{home}"\nIssues = "{home}/issues"\n'
        f'Changelog = "{home}/blob/{ref}/CHANGELOG.md"\n'
    )
    project.write_text(project.read_text().replace("[project.urls]\n", urls))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
