"""Every layer that a backend provides, as data."""

from twingrad.core import definitions
from twingrad.core.spec import Choice, Flag, Integer, LayerSpec, Number

REDUCTION = Choice("mean", ("mean", "sum", "none"))

LINEAR = LayerSpec(
    name="linear",
    formula="y = x @ weight.T + bias",
    inputs={"x": "... in", "weight": "out in", "bias": "out"},
    optional=("bias",),
    output="... out",
    source="torch.nn.functional.linear",
    definition=definitions.linear,
)

TANH = LayerSpec(
    name="tanh",
    formula="y = (e^x - e^-x) / (e^x + e^-x)",
    inputs={"x": "..."},
    output="...",
    source="DLMF 4.28.4",
    definition=definitions.tanh,
    meaning="finite in, finite out, without a warning",
)

SIGMOID = LayerSpec(
    name="sigmoid",
    formula="y = 1 / (1 + e^-x)",
    inputs={"x": "..."},
    output="...",
    source="torch.nn.functional.sigmoid",
    definition=definitions.sigmoid,
    meaning="finite in, finite out, without a warning",
)

RELU = LayerSpec(
    name="relu",
    formula="y = max(x, 0)",
    inputs={"x": "..."},
    output="...",
    source="Nair and Hinton 2010, ICML, section 2",
    definition=definitions.relu,
    meaning="the gradient at 0 is 0; NaN stays NaN and lets the gradient through",
)

GELU = LayerSpec(
    name="gelu",
    formula="y = x * Phi(x), Phi the normal distribution function",
    inputs={"x": "..."},
    output="...",
    source="Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2",
    definition=definitions.gelu,
    settings={"approximate": Choice("none", ("none", "tanh"))},
    meaning=(
        "none is exact (erf); tanh is x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; "
        "+inf gives inf with gradient 1, -inf gives 0 with gradient 0"
    ),
)

SOFTMAX = LayerSpec(
    name="softmax",
    formula="y = e^x / sum(e^x)",
    inputs={"x": "... n"},
    output="... n",
    source="Bridle 1990, doi:10.1007/978-3-642-76153-9_28",
    definition=definitions.softmax,
    meaning="over the last dimension; a logit of -inf has probability and gradient exactly 0",
)

LOG_SOFTMAX = LayerSpec(
    name="log_softmax",
    formula="y = x - log(sum(e^x))",
    inputs={"x": "... n"},
    output="... n",
    source="torch.nn.functional.log_softmax",
    definition=definitions.log_softmax,
    meaning=(
        "over the last dimension; a logit of -inf is absent: its output is -inf, its gradient "
        "exactly 0, and what flows into that output goes nowhere"
    ),
)

LAYER_NORM = LayerSpec(
    name="layer_norm",
    formula="y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias",
    inputs={"x": "... features", "weight": "features", "bias": "features"},
    optional=("weight", "bias"),
    output="... features",
    source="Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4",
    definition=definitions.layer_norm,
    settings={"eps": Number(1e-5, low=0.0)},
    meaning="var divides by features, eps is inside the root; a constant row gives exactly bias",
)

ATTENTION = LayerSpec(
    name="attention",
    formula="y = softmax(scale * query @ key.T, where visible) @ value",
    inputs={
        "query": "... q d",
        "key": "... k d",
        "value": "... k v",
        "mask": "... q k",
        "keep": "... q k",
    },
    optional=("mask", "keep"),
    broadcast=("mask", "keep"),
    booleans=("mask", "keep"),
    output="... q v",
    source="Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
    definition=definitions.attention,
    settings={
        "causal": Flag(),
        "scale": Number(None),
        "p": Number(0.0, low=0.0, high=1.0),
    },
    meaning=(
        "mask is True where a query may attend; a masked pair is absent, whatever stands there; "
        "a query with nothing to attend to gives 0 with gradient 0; causal is aligned top-left; "
        "scale None is 1 / sqrt(d); keep drops weights (p) as dropout does, and is drawn outside"
    ),
)

DROPOUT = LayerSpec(
    name="dropout",
    formula="y = x / (1 - p) where keep, else 0",
    inputs={"x": "...", "keep": "..."},
    booleans=("keep",),
    output="...",
    source="Srivastava et al. 2014, JMLR 15:1929, section 10",
    definition=definitions.dropout,
    settings={"p": Number(0.5, low=0.0, high=1.0)},
    meaning="keep is drawn outside; 1 / (1 - p) is rounded to the dtype; dropped is exactly 0",
)

BCE_WITH_LOGITS = LayerSpec(
    name="bce_with_logits",
    formula="y = reduction(weight * (max(x, 0) - x * target + log(1 + e^-|x|)))",
    inputs={"x": "...", "target": "...", "weight": "...", "pos_weight": "..."},
    optional=("weight", "pos_weight"),
    broadcast=("weight", "pos_weight"),
    constants=("target", "weight", "pos_weight"),
    labels=("target",),
    output="... or scalar",
    source="torch.nn.functional.binary_cross_entropy_with_logits",
    definition=definitions.bce_with_logits,
    settings={"reduction": REDUCTION},
    meaning=(
        "right at x = +-inf; targets outside [0, 1] are allowed and extrapolate the formula; "
        "pos_weight multiplies the part of a target's 1; the mean of nothing is 0"
    ),
)

EMBEDDING = LayerSpec(
    name="embedding",
    formula="y = weight[ids]",
    inputs={"ids": "...", "weight": "n d"},
    indices={"ids": "n"},
    output="... d",
    source="torch.nn.functional.embedding",
    definition=definitions.embedding,
    settings={"padding_idx": Integer(None, place="n")},
    meaning=(
        "ids outside 0...n-1 are refused; the gradients of an id that occurs twice add up; the row "
        "of padding_idx is read as any other, and its gradient is exactly 0"
    ),
)

CROSS_ENTROPY = LayerSpec(
    name="cross_entropy",
    formula="y = reduction(-weight[target] * log_softmax(x)[target])",
    inputs={"x": "... classes", "target": "...", "weight": "classes"},
    optional=("weight",),
    constants=("weight",),
    indices={"target": "classes"},
    output="... or scalar",
    source="torch.nn.functional.cross_entropy",
    definition=definitions.cross_entropy,
    settings={
        "ignore_index": Integer(-100),
        "label_smoothing": Number(0.0, low=0.0, high=1.0),
        "reduction": REDUCTION,
    },
    meaning=(
        "a target of ignore_index is not counted; the mean is weighted, over the counted targets, "
        "and 0 if there are none; label_smoothing s gives each class s / classes of the target; a "
        "logit of -inf is absent, as in log_softmax: its gradient is exactly 0"
    ),
)

LAYERS: dict[str, LayerSpec] = {
    spec.name: spec
    for spec in (
        LINEAR,
        TANH,
        SIGMOID,
        RELU,
        GELU,
        SOFTMAX,
        LOG_SOFTMAX,
        LAYER_NORM,
        ATTENTION,
        EMBEDDING,
        DROPOUT,
        BCE_WITH_LOGITS,
        CROSS_ENTROPY,
    )
}
