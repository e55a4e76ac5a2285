"""torch's compiler: not imported by who does not use it, and there for who does."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRAINED = """
import sys, robustreg as rr
arms = rr.regularizers
splits = rr.load_data('digits', seed=0, train=60, val=20, test=20)
model = lambda: rr.models.mlp((1, 8, 8), 10, hidden=(8,))
for regularizers in ([], [arms.L1(1e-4)], [arms.FGSMTraining(0.1)], [arms.SAM(0.05)]):
    rr.train(model(), regularizers, splits, epochs=1)
    runs = rr.train_many(model, regularizers, splits, seeds=range(3), epochs=1, together=True)
    assert not any(run.note for run in runs)
print('torch._dynamo' in sys.modules or '_dynamo' in vars(sys.modules['torch']))
"""

ASKED = """
import sys, torch
from robustreg.compiler import without_compiler
with without_compiler():
    with without_compiler():
        gradient = torch.vmap(torch.func.grad(lambda x: x**2))(torch.ones(3))
    assert 'torch._dynamo' not in sys.modules
    torch._dynamo.compiled_autograd._disable
    assert 'torch._dynamo' not in sys.modules
    {used}
    assert 'torch._dynamo' in sys.modules
torch._dynamo.reset()
assert torch._dynamo is sys.modules['torch._dynamo']
with without_compiler():
    assert torch._dynamo is sys.modules['torch._dynamo']
method = torch.optim.Optimizer.add_param_group.__wrapped__
print(gradient.tolist(), hasattr(method, '__dynamo_disable'))
"""


def said(code: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_a_training_alone_and_in_a_stack_leaves_torchs_compiler_alone():
    assert said(TRAINED) == "False"


@pytest.mark.parametrize("used", ["torch._dynamo.config.suppress_errors", "torch._dynamo.compiled_autograd.reset",
                                  "import torch._dynamo", "torch.compile(torch.nn.Linear(1, 1))"])  # fmt: skip
def test_who_asks_for_the_compiler_meanwhile_gets_it_and_nothing_is_left_behind(used):
    assert said(ASKED.format(used=used)) == "[2.0, 2.0, 2.0] False"
