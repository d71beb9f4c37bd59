"""One meaning a name: no type's name is defined twice in the product."""

from __future__ import annotations

import ast
from collections import defaultdict

from packages import PACKAGES, ROOT


def type_names(tree: ast.Module) -> dict[str, str]:
    """Classes and type aliases at a module's top, without leading underscores, and their meaning.

    An alias written twice in the same words, as two packages that may not import each other need
    it, has one meaning.
    """
    names = {node.name: "class" for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if "TypeAlias" in ast.unparse(node.annotation) and node.value is not None:
                names[node.target.id] = ast.unparse(node.value)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[:1].isupper() and not name.isupper():
                names[name] = ast.unparse(node.value)
    return {name.lstrip("_"): meaning for name, meaning in names.items()}


def test_no_type_name_has_two_meanings() -> None:
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name, meaning in type_names(ast.parse(path.read_text(encoding="utf-8"))).items():
                homes[name][str(path.relative_to(ROOT))] = meaning
    twice = {
        name: sorted(found)
        for name, found in homes.items()
        if len(found) > 1 and (len(set(found.values())) > 1 or "class" in found.values())
    }
    assert twice == {}
