"""The victim is what the user deploys: its types, its input, its gradient, its batches.

Every model here is the classifier of `system_stripes` written in another honest way, or one whose
way of failing has to be told as what it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from system_files import auditor
from system_stripes import CONFIG, audited, codes, numbers, told, write_stripes

#: The right numbers: clean, FGSM, PGD.
RIGHT = [1.0, 0.5, 0.5]


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


# Types ------------------------------------------------------------------------------------------


def test_complex_weights_keep_their_imaginary_parts():
    """The filter moves the picture by one stripe: its imaginary parts are what moves it."""
    model, _ = audited('''
class Moved(Stripes):
    def __init__(self):
        super().__init__()
        shift = torch.exp(-2j * torch.pi * torch.arange(5) * 3 / 9)
        self.filter = nn.Parameter(shift.to(torch.complex64))

    def forward(self, x):
        x = torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=x.shape[-2:])
        return super().forward(x)[:, [1, 2, 0]]


def make():
    return Moved()
''')  # fmt: skip
    assert numbers(model) == RIGHT
    assert model["precision"] == "float32"
    assert codes(model) == []


def test_a_model_in_half_precision_runs_in_half_precision():
    """Its energy overflows in float16, and only there."""
    text = """
class Energy(Stripes):
    def forward(self, x):
        energy = (x * 255).square().sum((1, 2, 3))
        return super().forward(x) * (energy / energy)[:, None]


def make():
    return Energy().KIND()
"""
    model, _ = audited(text.replace("KIND", "half"))
    assert model["clean"]["accuracy"] == 0
    assert model["precision"] == "float16"
    assert "60 of 60" in told(model, "non-finite")


BETWEEN = '''
class Between(nn.Module):
    """Weights in another type than what goes in and comes out."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.pool = nn.AvgPool2d((9, 3))
        self.head = nn.Linear(3, 3, dtype=kind)
        with torch.no_grad():
            self.head.weight.copy_(20 * torch.eye(3))
            self.head.bias.zero_()

    def forward(self, x):
        assert x.dtype == torch.float32
        return self.head(self.pool(x).flatten(1).to(self.kind)).float()


class Mixed(nn.Module):
    """A body in half precision under a head in float32."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 3, (9, 3), stride=3, bias=False).half()
        self.head = nn.Linear(9, 3, bias=False)
        with torch.no_grad():
            self.body.weight.fill_(20 / 27)
            self.head.weight.copy_(torch.eye(3).repeat(1, 3) / 3)

    def forward(self, x):
        return self.head(self.body(x).flatten(1).float())


'''


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_weights_of_another_type_between_two_casts(kind):
    model, _ = audited(BETWEEN + f"def make():\n    return Between(torch.{kind})\n")
    assert numbers(model) == RIGHT
    assert model["precision"] == kind
    left = [] if kind == "float64" else ["computed-as-is"]
    assert codes(model) == left
    if left:  # a copy in float32 cannot be had
        assert "float32: RuntimeError" in told(model, "computed-as-is")


def test_a_half_body_under_a_float_head_is_audited_as_it_is():
    model, _ = audited(BETWEEN + "def make():\n    return Mixed()\n")
    assert numbers(model) == RIGHT
    assert model["precision"] == "float16 and float32"
    assert codes(model) == []


def test_a_cast_is_made_where_it_is_asked_for_and_told():
    config = CONFIG.replace("[data]", 'precision = "float16"\n[data]')
    model, _ = audited("def make():\n    return Stripes()\n", config)
    assert numbers(model) == RIGHT
    assert model["precision"] == "float16"
    assert "weights made in float32, audited in float16" in told(model, "precision")


def test_a_declared_precision_is_compared_and_casts_no_mixed_model():
    config = CONFIG.replace("[data]", 'precision = "float16"\n[data]')
    model, _ = audited(BETWEEN + "def make():\n    return Mixed()\n", config)
    assert numbers(model) == RIGHT
    assert model["precision"] == "float16 and float32"
    assert "Nothing was cast" in told(model, "precision")


def test_a_search_precision_that_the_model_does_not_take_is_left_and_told():
    model, _ = audited(
        """
class Fixed(Stripes):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 alone")
        return super().forward(x)


def make():
    return Fixed()
""",
        CONFIG.replace('"float32"', '"bfloat16"'),
    )
    assert numbers(model) == RIGHT
    assert "bfloat16, to search: TypeError: float32 alone" in told(model, "computed-as-is")


# Input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["x.sub_(0.5).div_(0.25)", "x.clamp_(0, 1)", "x[:] = 2 * x", "F.relu(x, inplace=True)"],
)
def test_a_model_may_write_into_its_input(line):
    model, _ = audited(f'''
class InPlace(Stripes):
    def forward(self, x):
        {line}
        return super().forward(x)


def make():
    return InPlace()
''')  # fmt: skip
    assert numbers(model) == RIGHT
    assert codes(model) == []


# Gradients --------------------------------------------------------------------------------------


REFUSED = {
    "a reentrant checkpoint": """
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=True)
""",
    "values that are written over": """
    def forward(self, x):
        x = torch.sigmoid(x)
        y = super().forward(x)
        x.mul_(2)
        return y * super().forward(x).square().sum(1, keepdim=True).add(1).div(100).add(1).log()
""",
    "a backward hook around something in place": """
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.relu.register_full_backward_hook(lambda *seen: None)

    def forward(self, x):
        return super().forward(self.relu(x))
""",
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("how", REFUSED)
def test_what_torch_refuses_is_differentiated_in_another_way(how):
    text = "from torch.utils.checkpoint import checkpoint\n\n\nclass Odd(Stripes):"
    model, _ = audited(text + REFUSED[how] + "\n\ndef make():\n    return Odd()\n")
    assert numbers(model) == RIGHT
    assert codes(model) == []


@pytest.mark.parametrize("checks", ["", '[[check]]\nuse = "operation-trace"\n'])
def test_a_backward_pass_that_fails_is_no_missing_gradient(checks):
    """It is told what torch said, and nothing is confirmed."""
    config = CONFIG.replace("check  = []", "" if checks else "check = []") + checks
    config += '\n[[attack]]\nuse = "square"\nqueries = 300\n'
    model, _ = audited(
        """
class Closed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        raise RuntimeError("the kernel of the backward pass was not built")


class Kernel(Stripes):
    def forward(self, x):
        return super().forward(Closed.apply(x))


def make():
    return Kernel()
""",
        config,
    )
    assert "the kernel of the backward pass was not built" in told(model, "gradient-failed")
    assert "no-gradient" not in codes(model)
    rows = {row["label"]: row for row in model["threats"][0]["attacks"]}
    assert rows["pgd"]["status"] == "error"
    assert "was not built" in rows["pgd"]["reason"]
    assert rows["square"]["robust"]["accuracy"] == 0.5
    assert model["masking"]["verdict"] == "inconclusive"


# Batches ----------------------------------------------------------------------------------------


def test_a_model_that_fails_on_one_image_is_told_and_asked_about_two():
    """59 of 60 images fall, and the last lane of every attack is alone."""
    model, output = audited(
        """
class Squeezed(Stripes):
    def forward(self, x):
        return super().forward(x)[:, :, None, None].squeeze()


def make():
    return Squeezed()
""",
        low=59,
    )
    assert numbers(model) == [1.0, 1 / 60, 1 / 60]
    line = told(model, "small-batches")
    assert "Given one image, it returns (3,)" in line
    number = Path("model.py").read_text().partition("squeeze")[0].count("\n") + 1
    assert f"squeeze() at model.py:{number}" in line
    assert "fails on a batch of one image" in output


def test_what_the_audit_froze_is_named():
    write_stripes('''
class Adapting(Stripes):
    @torch.enable_grad()
    def forward(self, x):
        scores = super().forward(x)
        entropy = -(scores.softmax(1) * scores.log_softmax(1)).sum(1).mean()
        (slope,) = torch.autograd.grad(entropy, self.scale)
        self.scale.data -= 1e-4 * slope
        return scores.detach()


class Purifying(Stripes):
    def forward(self, x):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(super().forward(x).logsumexp(1).sum(), x)
        return super().forward(x - 0 * slope)


class Training(Stripes):
    def forward(self, x):
        assert self.training
        return super().forward(x)


def make(kind="Adapting"):
    return {"Adapting": Adapting, "Purifying": Purifying, "Training": Training}[kind]()
''')  # fmt: skip
    for kind, words in (
        ("Adapting", "the audit freezes parameters"),
        ("Purifying", "the audit asks under torch.no_grad()"),
        ("Training", "the audit has called eval()"),
    ):
        status, output = auditor("run", "audit.toml", "--set", f'model.0.kwargs.kind="{kind}"')
        assert status == 4, output
        assert words in output


def test_memory_is_found_by_trying_in_pre_flight_and_batch_size_is_honoured():
    text = """
class Cramped(Stripes):
    room = ROOM

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().forward(x)


def make():
    return Cramped()
"""
    model, _ = audited(text.replace("ROOM", "5"))
    assert numbers(model) == RIGHT
    assert codes(model) == []


def test_batch_size_holds_in_pre_flight():
    """The model counts: more than the batch size, and its answers are no longer right."""
    model, _ = audited(
        """
class Counting(Stripes):
    def forward(self, x):
        assert len(x) <= 4, "a batch that was not asked for"
        return super().forward(x)


def make():
    return Counting()
""",
        CONFIG.replace("batch_size       = 64", "batch_size       = 4"),
    )
    assert numbers(model) == RIGHT
    assert codes(model) == []


def test_state_that_is_made_on_the_way_is_no_error():
    """A buffer for every size of a batch, which no state dict from before has."""
    model, _ = audited('''
class Caching(Stripes):
    def forward(self, x):
        name = f"ones{len(x)}"
        if not hasattr(self, name):
            self.register_buffer(name, torch.ones(len(x), 1))
        self.features = super().forward(x) * getattr(self, name)
        return self.features


def make():
    return Caching().half()
''')  # fmt: skip
    assert numbers(model) == RIGHT
    assert np.isclose(model["masking"]["corrected_accuracy"] or 0.5, 0.5)
