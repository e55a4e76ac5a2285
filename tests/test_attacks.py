"""FGSM against other libraries and float64; every attack against its contract."""

import foolbox
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustreg.attacks import fgsm, pgd
from robustreg.errors import UsageError
from robustreg.threat import ThreatModel

ATTACKS = {"fgsm": fgsm, "pgd": pgd}


def digits():
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x[order], torch.tensor(found.target)[order]


X, Y = digits()
x, y = X[:64], Y[:64]


def mlp(width=32, classes=10):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes)).eval()


def cnn():
    torch.manual_seed(2)
    body = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32, 10)).eval()


@pytest.fixture(scope="module")
def trained():
    model = mlp(64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for epoch in range(20):
        for at in torch.randperm(1000, generator=torch.Generator().manual_seed(epoch)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(X[at]), Y[at]).backward()
            optimizer.step()
    return model


@pytest.fixture
def test_points():
    return X[1000:1300], Y[1000:1300]


def scaled(model, factor):
    """The same classifier with logits `factor` times as large."""
    copy = mlp(64)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for parameter in copy[-1].parameters():
            parameter *= factor
    return copy


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(-1) == y).double().mean())


# --- FGSM ---------------------------------------------------------------------------------------------------------


def foolbox_fgsm(model, x, y, eps):
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=eps)[1]


def torchattacks_fgsm(model, x, y, eps):
    # No test requirement: its pins keep it from being installed beside other packages.
    return pytest.importorskip("torchattacks").FGSM(model, eps=eps)(x, y)


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("eps", [8 / 255, 2 / 16])
@pytest.mark.parametrize("theirs", [foolbox_fgsm, torchattacks_fgsm])
def test_fgsm_equals_other_libraries_image_for_image(make, eps, theirs):
    model = make()
    ours = fgsm(model, x, y, eps=eps)
    assert torch.equal(ours, theirs(model, x, y, eps))
    assert not torch.equal(ours, x)


def test_l2_fgsm_equals_foolbox():
    model = mlp()
    ours = fgsm(model, x, y, eps=0.5, norm="l2")
    attack = foolbox.attacks.L2FastGradientAttack(random_start=False)
    _, theirs, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=0.5)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_fgsm_on_a_saturated_model_equals_float64_where_libraries_stop_moving(trained, test_points):
    points, labels = test_points
    model = scaled(trained, 20)
    exact = scaled(trained, 20).double()
    ours = fgsm(model, points, labels, eps=0.1)
    image = points.double().requires_grad_()
    logits = exact(image)
    others = logits.masked_fill(F.one_hot(labels, 10).bool(), -torch.inf)
    (gradient,) = torch.autograd.grad((others.logsumexp(-1) - logits[torch.arange(300), labels]).sum(), image)
    reference = (points.double() + 0.1 * gradient.sign()).clamp(0, 1)
    assert torch.allclose(ours.double(), reference, atol=1e-6)
    theirs = foolbox_fgsm(model, points, labels, 0.1)
    assert accuracy(model, theirs, labels) > accuracy(model, ours, labels) + 0.2


def accuracies_by_scale(trained, points, labels, attack, loss):
    return {
        factor: accuracy(trained, attack(scaled(trained, factor), points, labels, eps=0.1, loss=loss), labels)
        for factor in (1 / 4, 1, 4, 20)
    }


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_accuracy_under_the_margin_attacks_does_not_depend_on_the_scale_of_the_logits(trained, test_points, attack):
    found = accuracies_by_scale(trained, *test_points, attack, "margin")
    assert len(set(found.values())) == 1 and found[1] < 0.9, found


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_larger_logits_do_not_look_robust_to_the_scale_free_loss_as_they_do_to_cross_entropy(
    trained, test_points, attack
):
    # logsumexp tends to the maximum as logits grow, so a confident model looks slightly weaker, never stronger.
    free = accuracies_by_scale(trained, *test_points, attack, "scale_free")
    entropy = accuracies_by_scale(trained, *test_points, attack, "cross_entropy")
    assert free[1 / 4] == entropy[1 / 4] and free[1] == entropy[1]
    assert abs(free[4] - free[1]) <= 0.02 and abs(free[20] - free[1]) <= 0.02 and abs(free[1 / 4] - free[1]) <= 0.08
    assert entropy[20] > free[20] + 0.15


# --- every attack -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(5,), (1, 4, 4), (2, 3, 1, 2)])
@pytest.mark.parametrize("classes", [2, 3])
def test_results_keep_type_box_and_budget_in_every_shape(name, norm, dtype, shape, classes):
    torch.manual_seed(6)
    points, labels = torch.rand(9, *shape, dtype=dtype), torch.randint(classes, (9,))
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(classes)).to(dtype)
    model(points)
    eps = 0.07 if norm == "linf" else 0.3
    moved = ATTACKS[name](model, points, labels, eps=eps, norm=norm)
    assert moved.dtype == dtype and moved.shape == points.shape and not moved.requires_grad
    assert ThreatModel(norm, eps).contains(moved, points).all()
    assert (moved != points).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_eps_zero_returns_the_images_and_an_empty_batch_stays_empty(name, norm):
    moved = ATTACKS[name](mlp(), x, y, eps=0, norm=norm)
    assert torch.equal(moved, x) and moved is not x
    assert ATTACKS[name](mlp(), x[:0], y[:0], eps=0.1, norm=norm).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("name", ATTACKS)
def test_shifting_all_logits_far_below_zero_changes_nothing(name, trained, test_points):
    points, labels = test_points

    class Shifted(nn.Module):
        def forward(self, x):
            return trained(x) - 64

    plain = accuracy(trained, ATTACKS[name](trained, points, labels, eps=0.1), labels)
    shifted = accuracy(trained, ATTACKS[name](Shifted(), points, labels, eps=0.1), labels)
    assert abs(plain - shifted) <= 0.01 < 0.9 - plain


class Fussy(nn.Module):
    """A model with everything an attack could disturb: batch statistics, dropout, a counter, a frozen part."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        self.last = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        torch.rand(3)
        return self.last(self.first(x))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_leave_no_trace(name):
    torch.manual_seed(0)
    model = Fussy().train()
    model.last[1].eval()
    model.first[1].bias.requires_grad_(False)
    F.cross_entropy(model(x), y).backward()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = {key: None if p.grad is None else p.grad.clone() for key, p in model.named_parameters()}
    flags = {key: p.requires_grad for key, p in model.named_parameters()}
    modes = {key: module.training for key, module in model.named_modules()}
    points, random = x.clone(), torch.get_rng_state()
    first = ATTACKS[name](model, points, y, eps=0.1)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(points, x) and not points.requires_grad and points.grad is None
    assert {key: module.training for key, module in model.named_modules()} == modes
    assert {key: p.requires_grad for key, p in model.named_parameters()} == flags
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for key, p in model.named_parameters():
        assert (p.grad is None) == (gradients[key] is None)
        assert p.grad is None or torch.equal(p.grad, gradients[key])
    # Dropout and batch statistics were off: the model in evaluation mode gives the same images.
    assert torch.equal(ATTACKS[name](model.eval(), points, y, eps=0.1), first)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_attacks_work_where_gradients_are_switched_off(name, mode):
    expected = ATTACKS[name](mlp(), x, y, eps=0.1)
    model = mlp()
    with mode():
        assert torch.equal(ATTACKS[name](model, x.clone(), y.clone(), eps=0.1), expected)


class Constant(nn.Module):
    def forward(self, x):
        return torch.eye(10)[:1].expand(len(x), 10)


class Rounded(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return self.inner(x.round())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("model", [Constant(), Rounded()], ids=["constant", "rounded"])
def test_a_model_without_gradients_is_attacked_without_an_error(name, model):
    moved = ATTACKS[name](model, x, y, eps=0.1)
    assert ThreatModel("linf", 0.1).contains(moved, x).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x": X[:64] * 2 - 1}, "put the normalisation inside the model"),
        ({"x": (X[:64] * 255).to(torch.uint8)}, "divide by 255"),
        ({"y": Y[:63]}, r"labels must be int64 of shape \(64,\)"),
        ({"y": Y[:64].float()}, "labels must be int64"),
        ({"y": Y[:64] + 1}, "do not fit a model of 10 classes"),
        ({"y": Y[:64] - 1}, "do not fit a model of 10 classes"),
        ({"eps": 8}, "8/255"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"loss": "ce"}, "loss must be one of"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"samples": torch.arange(3)}, "samples must be int64"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}, "2 or more classes"),
        ({"model": nn.Identity()}, "2 or more classes"),
    ],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_what_cannot_be_attacked_is_refused(name, arguments, says):
    settings = {"model": mlp(), "x": x, "y": y, "eps": 0.1, **arguments}
    with pytest.raises(UsageError, match=says):
        ATTACKS[name](**settings)
