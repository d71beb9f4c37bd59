"""One meaning a name: no type's name is defined twice in the product."""

from __future__ import annotations

import ast
from collections import defaultdict

from packages import PACKAGES, ROOT


def type_names(tree: ast.Module) -> set[str]:
    """Classes and type aliases at a module's top, without leading underscores."""
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if "TypeAlias" in ast.unparse(node.annotation):
                names.add(node.target.id)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[:1].isupper() and not name.isupper():
                names.add(name)
    return {name.lstrip("_") for name in names}


def test_no_type_name_has_two_meanings() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name in type_names(ast.parse(path.read_text(encoding="utf-8"))):
                homes[name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(found) for name, found in homes.items() if len(found) > 1} == {}
