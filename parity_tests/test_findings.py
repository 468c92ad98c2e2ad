"""What is wrong in plain torch 2.13 on a CPU: each test states what is right, and fails today.

torch is called directly here, not through twingrad, so a test that begins to pass is news from
torch: the suite turns red, and twingrad's torch backend may drop what it does instead. Some of
this hangs on the instruction set. So only there is a test that passes an error: from torch 2.13 on,
on x86-64 with AVX-512. docs/findings.md has a section for each test.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

INF = math.inf
RELEASE = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
AS_MEASURED = (
    RELEASE >= (2, 13)
    and platform.machine() in ("x86_64", "AMD64")
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
    and "ONEDNN_MAX_CPU_ISA" not in os.environ
)


def wrong(reason: str) -> pytest.MarkDecorator:
    """Mark a test that states what is right and fails with the torch of today."""
    return pytest.mark.xfail(strict=AS_MEASURED, raises=AssertionError, reason=reason)


def gradient(y: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of sum(y)."""
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    return grad


def nine(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return nine times the same number: for one element alone torch takes another path."""
    return torch.full((9,), value, dtype=dtype, requires_grad=True)


def all_are(tensor: Tensor, value: float) -> bool:
    return torch.equal(tensor, torch.full_like(tensor, value))


# Attention


@wrong("4 keys, all masked by the same finite number: each value's gradient is 4 times too large")
@pytest.mark.parametrize("masked", [-1e8, -1e9, float(torch.finfo(torch.float32).min)])
def test_a_row_masked_by_a_finite_number_shares_its_gradient(masked: float) -> None:
    query, key = torch.ones(1, 1, 1, 8), torch.ones(1, 1, 4, 8)
    value = torch.ones(1, 1, 4, 8, requires_grad=True)
    y = F.scaled_dot_product_attention(query, key, value, torch.full((1, 4), masked))
    assert all_are(gradient(y, value), 1 / 4)


@wrong("scores of 10,000: 3 digits of the value gradients are left")
def test_equal_scores_share_the_gradient_equally() -> None:
    query, key = torch.full((1, 1, 1, 1), 100.0), torch.full((1, 1, 4, 1), 100.0)
    value = torch.ones(1, 1, 4, 1, requires_grad=True)
    y = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    assert all_are(gradient(y, value), 1 / 4)


@wrong("NaN in a masked key or value reaches the output")
@pytest.mark.parametrize("spoilt", ["key", "value"])
def test_a_masked_nan_does_not_reach_the_output(spoilt: str) -> None:
    query, key, value = (torch.ones(1, 1, 2, 8) for _ in range(3))
    {"key": key, "value": value}[spoilt][..., 1, :] = math.nan
    mask = torch.tensor([[True, False], [True, False]])
    y = F.scaled_dot_product_attention(query, key, value, mask)
    assert not y.isnan().any()


@wrong("with need_weights=True a fully masked row is NaN, with False it is 0")
def test_a_fully_masked_row_is_the_same_with_weights_and_without() -> None:
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    x, hidden = torch.ones(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)
    with_weights, without = (
        attention(x, x, x, key_padding_mask=hidden, need_weights=need)[0] for need in (True, False)
    )
    assert torch.equal(with_weights.isnan(), without.isnan())


# GELU


@wrong("inf beyond 1.7e38, and NaN at +inf")
@pytest.mark.parametrize("x", [3e38, INF])
def test_gelu_of_a_large_number_is_that_number(x: float) -> None:
    large = nine(x)
    assert torch.equal(F.gelu(large), large)


@wrong("NaN at -inf")
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu_of_minus_infinity_is_0(form: str) -> None:
    assert all_are(F.gelu(nine(-INF), approximate=form), 0)


@wrong("NaN")
@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize(("x", "slope"), [(INF, 1), (-INF, 0)])
def test_the_slope_of_gelu_at_infinity_is_that_of_its_arms(
    form: str, x: float, slope: float
) -> None:
    far = nine(x)
    assert all_are(gradient(F.gelu(far, approximate=form), far), slope)


@wrong("NaN beyond 1.8e19, where the square overflows")
@pytest.mark.parametrize(("x", "slope"), [(2e19, 1), (-2e19, 0)])
def test_the_slope_of_gelu_by_tanh_is_that_of_its_arms_far_out(x: float, slope: float) -> None:
    far = nine(x)
    assert all_are(gradient(F.gelu(far, approximate="tanh"), far), slope)


@wrong("57 % off at -5.5, and 0 beyond -5.55")
@pytest.mark.parametrize("x", [-5.5, -6.0, -10.0])
def test_gelus_left_tail_has_digits(x: float) -> None:
    right = x * math.erfc(-x / math.sqrt(2)) / 2
    assert (F.gelu(nine(x)).double() - right).abs().max() <= abs(right) / 100


@wrong("where oneDNN runs without AVX: +0")
def test_the_gelu_of_minus_0_is_minus_0() -> None:
    program = (
        "import torch; import torch.nn.functional as F;"
        "print(F.gelu(torch.full((9,), -0.0)).signbit().all().item())"
    )
    variables = {**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


# Other layers


@wrong("NaN where the loss is 0 or inf; the gradients are right")
@pytest.mark.parametrize(("x", "target", "loss"), [(INF, 1, 0), (-INF, 0, 0), (-INF, 1, INF)])
def test_bce_with_logits_is_right_at_infinity(x: float, target: float, loss: float) -> None:
    targets = torch.full((9,), float(target))
    assert all_are(F.binary_cross_entropy_with_logits(nine(x), targets, reduction="none"), loss)


@wrong("NaN, where scaled_dot_product_attention makes 0 of it")
def test_the_softmax_of_nothing_is_0() -> None:
    assert all_are(torch.softmax(nine(-INF), dim=-1), 0)


@wrong("NaN in the output and in every gradient")
def test_the_log_softmax_of_nothing_is_minus_infinity() -> None:
    assert all_are(torch.log_softmax(nine(-INF), dim=-1), -INF)


@wrong("7.2 for one row of 1e6")
def test_a_layer_norm_of_width_1_leaves_its_weight_alone() -> None:
    weight = torch.ones(1, requires_grad=True)
    y = F.layer_norm(torch.full((1, 1), 1e6), (1,), weight)
    assert all_are(gradient(y, weight), 0)


@wrong("added in their own dtype: bfloat16 stops at 512, float16 at 4096")
@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=str)
def test_layer_norms_parameters_get_the_whole_sum(narrow: torch.dtype) -> None:
    weight, bias = torch.ones(2, dtype=narrow), torch.zeros(2, dtype=narrow, requires_grad=True)
    y = F.layer_norm(torch.tensor([[-1, 1]], dtype=narrow).repeat(5000, 1), (2,), weight, bias)
    assert all_are(gradient(y, bias), float(torch.tensor(5000, dtype=narrow)))


@wrong("added in their own dtype: bfloat16 stops at 256, float16 at 2048")
@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("how", ["embedding", "index"])
def test_a_row_looked_up_often_gets_the_whole_sum(narrow: torch.dtype, how: str) -> None:
    rows = torch.zeros(1, 1, dtype=narrow, requires_grad=True)
    ids = torch.zeros(5000, dtype=torch.long)
    y = F.embedding(ids, rows) if how == "embedding" else rows[ids]
    assert all_are(gradient(y, rows), float(torch.tensor(5000, dtype=narrow)))


@wrong("200,000 times 0.1 in float32 is 19959.5: added one after the other")
def test_a_row_looked_up_very_often_gets_the_sum_to_three_digits() -> None:
    rows = torch.zeros(1, 1, requires_grad=True)
    y = F.embedding(torch.zeros(200_000, dtype=torch.long), rows)
    (grad,) = torch.autograd.grad(y, rows, torch.full_like(y, 0.1))
    assert abs(float(grad) - 20_000) < 20


@wrong("NaN: the mean is 0 / 0")
@pytest.mark.parametrize("weight", [None, (0.0, 0.0, 1.0)])
def test_the_cross_entropy_of_nothing_counted_is_0(weight: tuple[float, ...] | None) -> None:
    target = torch.full((2,), -100 if weight is None else 1)
    weights = None if weight is None else torch.tensor(weight)
    assert all_are(F.cross_entropy(torch.ones(2, 3), target, weights), 0)


@wrong("0 below -88.72, where e^-x overflows")
def test_sigmoid_keeps_what_is_below_the_normal_numbers() -> None:
    assert torch.sigmoid(nine(-89.0)).min() > 0


@wrong("20.0001, which lacks 2.1e-9: log(1 + e^x) is x beyond the threshold of 20")
def test_softplus_of_float64_has_its_digits_beyond_20() -> None:
    x = 20.0001
    right = x + math.log1p(math.exp(-x))
    assert abs(float(F.softplus(torch.tensor(x, dtype=torch.float64))) - right) <= np.spacing(right)


@wrong("NaN: eps = 1e-8 is 0 in float16, and the step is 0 / 0")
@pytest.mark.parametrize("foreach", [False, True])
def test_adamw_of_float16_takes_no_step_along_a_gradient_of_0(foreach: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    weight.grad = torch.zeros_like(weight)
    torch.optim.AdamW([weight], weight_decay=0.0, foreach=foreach).step()
    assert all_are(weight, 1)
