"""A new plugin: the files of a distribution with one regularizer in it that works and keeps the laws."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from ..errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")

_MODULE = '''"""A plugin for robustreg: __TITLE__."""

from collections.abc import Mapping

from torch import Tensor

from robustreg import Knob, Regularizer, hookimpl


class __CLASS__(Regularizer):
    """Add `strength` times the mean squared logit to the loss; put your own method in its place.

    Expected: say what it does to clean accuracy, memorization and robust accuracy.
    Author et al, Title, year.
    """

    name = "__NAME__"
    kind = "labels and outputs"
    strength = Knob(0.01, symbol="lambda", log=True, doc="weight of the squared logits")

    @hookimpl
    def penalty(self, logits: Tensor) -> Mapping[str, Tensor]:
        """Return the weighted penalty."""
        return {self.name: self.strength.to(logits.dtype) * logits.square().mean()}


@hookimpl
def regularizers() -> list[type[Regularizer]]:
    """Offer the regularizer to robustreg."""
    return [__CLASS__]
'''

_TEST = '''"""The plugin keeps the laws of robustreg, and computes what its paper says."""

import pytest
import torch
from __MODULE__ import __CLASS__

from robustreg import Objective, testing


@testing.parametrize(__CLASS__)
def test_it_keeps_the_laws(row: dict[str, str]) -> None:
    """Every law of `robustreg.testing` holds, or does not apply."""
    assert row["status"] != "failed", row["message"]


def test_the_loss_grows_by_the_penalty() -> None:
    """Put an independent truth here: a closed form, autograd in float64, another library."""
    model = torch.nn.Linear(3, 4)
    x, y = torch.rand(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    loss, _ = Objective(model, [__CLASS__(0.3)])(x, y, 0)
    plain = torch.nn.functional.cross_entropy(model(x), y)
    assert loss.item() == pytest.approx((plain + 0.3 * model(x).square().mean()).item())
'''

_SETUP = """[metadata]
name = robustreg-__DASHED__
version = 0.1.0
description = __TITLE__, as a regularizer for robustreg
long_description = file: README.md
long_description_content_type = text/markdown

[options]
py_modules = __MODULE__
python_requires = >=3.11
install_requires =
    robustreg

[options.entry_points]
robustreg =
    __NAME__ = __MODULE__

[options.extras_require]
test =
    pytest>=8
"""

_PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
"""

_README = """# robustreg-__DASHED__

__TITLE__, a regularizer for robustreg. Say here what it does, and name the paper.

    pip install -e '.[test]'
    robustreg plugins check __NAME__
    robustreg compare __NAME__
"""


def scaffold(name: str) -> dict[str, str]:
    """Return the files of a new plugin, text by file name, for a regularizer called `name`.

    Raises:
        UsageError: for a name that cannot be a module.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"a name is lower-case letters, digits and single _, and no word of Python; got {name!r}")
    module = f"robustreg_{name}"
    words = {
        "__NAME__": name,
        "__MODULE__": module,
        "__DASHED__": name.replace("_", "-"),
        "__CLASS__": "".join(part.capitalize() for part in name.split("_")),
        "__TITLE__": name.replace("_", " ").capitalize(),
    }
    files = {
        f"{module}.py": _MODULE,
        f"test_{module}.py": _TEST,
        "setup.cfg": _SETUP,
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
    }
    for word, value in words.items():
        files = {path: text.replace(word, value) for path, text in files.items()}
    return files


def write(files: dict[str, str], folder: Path) -> list[Path]:
    """Write the files into a new folder and return their paths.

    Raises:
        UsageError: when the folder is there already.
        StoreError: when it cannot be made, or written to.
        DiskFullError: when there is no room.
    """
    from ..study.disk import on_disk

    with on_disk(folder):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(f"{folder} is there already; name another folder with --out") from None
        for path, text in files.items():
            (folder / path).write_text(text)
    return [folder / path for path in files]
