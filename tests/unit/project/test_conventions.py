"""Conventions that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = sorted((ROOT / "notifier").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def place(path: Path, node: ast.stmt | ast.expr) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_module_at_the_top_stands_on_the_readmes_map() -> None:
    _, _, layout = (ROOT / "README.md").read_text("utf-8").partition("\n## The map\n")

    modules = [path for path in (ROOT / "notifier").iterdir() if path.name[0] != "_"]

    assert not [path.name for path in modules if path.name not in layout]


def test_no_function_is_longer_than_90_lines() -> None:
    long = [
        place(path, node)
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 90
        # The composition root, and the first tables: each is told in one piece.
        and node.name not in {"built", "build_services", "upgrade"}
    ]

    assert not long


def test_no_test_replaces_code_or_sleeps() -> None:
    found = [
        f"{place(path, node)}: {name}"
        for path in TESTS
        for node, name in _names(ast.parse(path.read_text("utf-8")))
        if name.startswith(("unittest.mock", "pytest_mock"))
        or (path.name.startswith("test_") and name in {"time.sleep", "asyncio.sleep"})
    ]

    assert not found


def _names(module: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Everything that is imported, and every attribute of a plain name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node, f"{node.value.id}.{node.attr}"


def test_nothing_names_a_machine_or_where_packages_are_downloaded() -> None:
    local = re.compile(r"/(?:work|root|opt/wheels)/|https?://[^\s/]*(?:pypi|pythonh)")
    committed = [
        path
        for pattern in ("*", ".ci/*", "config/**/*", "docs/**/*")
        for path in ROOT.glob(pattern)
        if path.is_file() and path.name != ".git" and ".db" not in path.name
    ]

    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path in (*committed, *PRODUCT, *TESTS)
        if (hit := local.search(path.read_text("utf-8", "replace"))) is not None
    ]

    assert not found
