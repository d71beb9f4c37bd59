"""What the names of folders say: one table for every layout.

    FOLDER/*.png                                        plain: all good
    FOLDER/{good,ok}, FOLDER/<defect>                   good images and bad, and perhaps masks
    FOLDER/train, validation, test/{good,<defect>}      a split
    FOLDER/ground_truth/<defect>, test/ground_truth/…   masks apart from their images
    FOLDER/Data/{Images,Masks}/…                        a folder more around either of them

A name may be written in any case. What the table does not know is the name of a defect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from calibrate.dataset.data import GOOD


class Role(Enum):
    """What lies in a folder of such a name."""

    LEARN = "images to learn from"
    MEASURE = "labelled images to measure on"
    UNLABELLED = "images without labels"
    GOOD = "good images"
    MASKS = "masks"
    AROUND = "other folders"


_NAMES: Mapping[Role, str] = MappingProxyType(
    {
        Role.LEARN: "train training",
        Role.MEASURE: "test testing test_public val valid validation",
        Role.UNLABELLED: "test_private test_private_mixed unlabelled unlabeled",
        Role.GOOD: "good ok normal pass io",
        Role.MASKS: "ground_truth groundtruth gt mask masks label labels",
        Role.AROUND: "data images image",
    }
)
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
_SPLITS = (Role.LEARN, Role.MEASURE, Role.UNLABELLED)


def role_of(name: str) -> Role | None:
    """What a folder's name says; None where it is that of a defect."""
    return _ROLES.get(name.casefold())


@dataclass(frozen=True, slots=True)
class FolderMeaning:
    """What the folders above a file say of it.

    Attributes:
        split: of what it is a part; None without a split.
        split_name: of that folder, in lower case.
        masks: whether it lies among masks.
        kind: ``good`` or the name of a defect; empty where no folder says.
        rest: the folders below that of the kind.
        around: whether the innermost folder says only that images are in it.
    """

    split: Role | None = None
    split_name: str = ""
    masks: bool = False
    kind: str = ""
    rest: tuple[str, ...] = ()
    around: bool = False

    def enter(self, name: str) -> FolderMeaning:
        """What a folder in this one says."""
        role = None if self.rest else role_of(name)
        if role is Role.MASKS:
            return replace(self, masks=True, around=False)
        if role is Role.AROUND:
            return replace(self, around=True)
        if role in _SPLITS and self.split is None:
            return replace(self, split=role, split_name=name.casefold(), around=False)
        if self.kind:
            return replace(self, rest=(*self.rest, name), around=False)
        return replace(self, kind=GOOD if role is Role.GOOD else name, around=False)
