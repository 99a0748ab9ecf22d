"""SmoothQuant (Xiao et al. 2022): move the activations' outlier channels into the weights, which tolerate them.

Each input channel j of a linear layer is divided by s_j = max|x_j|^a / max|W_j|^(1 - a), and the weights that it meets
are multiplied by s_j. The product is the same; the activation's range is smaller. The division is folded into what
comes before: a norm, the value projection, the gating half of an MLP. Where nothing can take it, one multiplication is
added. Each layer has its own strength a: of those in STRENGTHS, the one that should leave the least rounding error.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskedge_export.encoders.encoder import MLP, Attention, Block, Encoder, Scale

__all__ = ["Inputs", "LinearInputs", "observed_inputs", "smooth"]

LinearInputs = dict[nn.Linear, "Inputs"]
"""What was seen of the input of each linear layer."""

FactorsOf = Callable[..., Tensor]
"""Linear layers of one input -> s of each of its channels [in]."""

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The a that are tried: 0 would leave the activations as they are, 1 would move their outliers into the weights
entirely."""

STEPS = 255
"""How many steps an activation's range has, and a weight's."""

GPTQ_ERROR_SHARE = 0.25
"""Share of a weight's rounding error that GPTQ leaves: on the first model, most layers kept 0.15 to 0.35."""


@dataclass(slots=True)
class Inputs:
    """What was seen of a linear layer's input."""

    peak: Tensor
    """The largest magnitude of each channel [in]."""
    squares: Tensor
    """The sum of squares of each channel [in]."""
    count: int
    """How many rows were seen."""

    def add(self, x: Tensor) -> None:
        """Take note of more of it [rows, in]."""
        self.peak = torch.maximum(self.peak, x.abs().amax(0))
        self.squares = self.squares + x.square().sum(0)
        self.count += len(x)


@contextmanager
def observed_inputs(encoder: Encoder) -> Iterator[LinearInputs]:
    """What each linear layer is given while the block runs the encoder on calibration text."""
    seen: LinearInputs = {}

    def observe(module: nn.Linear, given: tuple[Tensor, ...]) -> None:
        if module not in seen:
            nothing = torch.zeros(module.in_features)
            seen[module] = Inputs(nothing, nothing, 0)
        seen[module].add(given[0].detach().flatten(0, -2))

    layers = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(observe) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def smooth(encoder: Encoder, seen: LinearInputs, strength: float | None = None) -> None:
    """Move outliers of an encoder's activations into its weights, in place; what it computes stays the same.

    Args:
        encoder: Of maskedge's own kind.
        seen: What its layers were given, of which the outliers are.
        strength: The a of all layers; None lets each have the best of STRENGTHS.
    """

    def factors(*layers: nn.Linear) -> Tensor:
        inputs = seen[layers[0]]
        tried = [_factors(inputs.peak, layers, a) for a in (STRENGTHS if strength is None else (strength,))]
        return min(tried, key=lambda s: _rounding_error(inputs, layers, s))

    for block in encoder.blocks:
        assert isinstance(block, Block)
        _smooth_attention(block, factors)
        _smooth_mlp(block, factors)
    if isinstance(encoder.final_norm, nn.LayerNorm):
        dense = encoder.head.dense
        _move(factors(dense), encoder.final_norm, [dense])


def _smooth_attention(block: Block, factors: FactorsOf) -> None:
    attention = block.attention
    inputs = [attention.query, attention.key, attention.value]  # of one input, so of one s
    _move(factors(*inputs), _producer(block, block.attention_norm, attention), inputs)
    # The value projection can take the division: attention only averages its rows.
    _move(factors(attention.out), attention.value, [attention.out])


def _smooth_mlp(block: Block, factors: FactorsOf) -> None:
    mlp = block.mlp
    inputs = [mlp.up] if mlp.gate is None else [mlp.up, mlp.gate]
    _move(factors(*inputs), _producer(block, block.mlp_norm, mlp), inputs)
    if mlp.gate is not None:  # it takes no activation function, so that the hidden layer is linear in it
        _move(factors(mlp.down), mlp.gate, [mlp.down])


def _producer(block: Block, norm: nn.Module, module: Attention | MLP) -> nn.LayerNorm | Scale:
    """What takes the division: the norm before; a new multiplication where the norm has no weight to divide, or where
    its output is the residual too."""
    if block.pre_norm and isinstance(norm, nn.LayerNorm):
        return norm
    scale = Scale(torch.ones(block.attention.query.in_features))
    module.input_scale = scale
    return scale


@torch.no_grad()
def _move(factors: Tensor, producer: nn.LayerNorm | nn.Linear | Scale, consumers: Sequence[nn.Linear]) -> None:
    """Divide the producer's output channels by the factors, and multiply the consumers' weights with them."""
    producer.weight.div_(factors.unsqueeze(1) if isinstance(producer, nn.Linear) else factors)
    bias = getattr(producer, "bias", None)
    if bias is not None:
        bias.div_(factors)
    for consumer in consumers:
        consumer.weight.mul_(factors)


def _factors(peak: Tensor, consumers: Sequence[nn.Linear], strength: float) -> Tensor:
    """s of each input channel, scaled to a geometric mean of 1."""
    tiny = 1e-5
    weight = torch.stack([layer.weight.detach().abs().amax(0) for layer in consumers]).amax(0)
    factors = peak.clamp(min=tiny) ** strength / weight.clamp(min=tiny) ** (1 - strength)
    return factors / factors.log().mean().exp()


@torch.no_grad()
def _rounding_error(inputs: Inputs, consumers: Sequence[nn.Linear], factors: Tensor) -> float:
    """The squared error to expect of a row's products, over the square of the products themselves; for all consumers.

    Rounding errs by a twelfth of a step's width squared on average, and each error is multiplied with the square of the
    number on its other side. The twelfth is left out, since errors are only compared.
    """
    step = 2 * float((inputs.peak / factors).max()) / STEPS
    mean_squares = inputs.squares / inputs.count
    error = 0.0
    for layer in consumers:
        weight = layer.weight * factors  # [out, in]
        # x's errors meet W, and W's errors, less what GPTQ makes up for, meet x.
        of_activation = step**2 * weight.square().sum()
        steps = 2 * weight.abs().amax(1) / STEPS
        of_weight = GPTQ_ERROR_SHARE * steps.square().sum() * (mean_squares / factors.square()).sum()
        error += float((of_activation + of_weight) / (layer.weight.square() * mean_squares).sum())
    return error
