"""SmoothQuant (Xiao et al. 2022): move the activations' outlier channels into the weights, which tolerate them.

Each input channel j of a linear layer is divided by s_j = max|x_j|^a / max|W_j|^(1 - a), and its weights multiplied by
it. The product is the same; the activation's range is smaller. The division is folded into what comes before: a norm,
the value projection, the gating half of an MLP; where nothing takes it, one multiplication is added. The strength a is
each layer's own: the one of a few that leaves least error by the arithmetic of rounding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from maskedge_export.encoders.encoder import MLP, Attention, Block, Encoder, Scale
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["smooth"]

FactorsOf = Callable[..., Tensor]

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""a above: 0 leaves the activations as they are, 1 leaves them no outliers and the weights all of them."""

STEPS = 255
"""Of an activation's range, and of a weight's."""

GPTQ_ERROR_SHARE = 0.25
"""Share of a weight's rounding error that is left after error-compensated rounding; measured on the first model, where
most layers kept 0.15 to 0.35."""


@dataclass(slots=True)
class _Inputs:
    """What was seen of a linear layer's input, by channel [in]."""

    peak: Tensor
    squares: Tensor
    """Sum of squares."""
    count: int

    def add(self, x: Tensor) -> None:
        """Take note of more of it [rows, in]."""
        self.peak = torch.maximum(self.peak, x.abs().amax(0))
        self.squares = self.squares + x.square().sum(0)
        self.count += len(x)


def smooth(encoder: Encoder, batches: Iterable[MaskedBatch], strength: float | None = None) -> None:
    """Change the encoder's weights in place: the function stays, and its activations quantize better.

    `strength` is the a of all layers; None lets each have its own of STRENGTHS.
    """
    seen = _observe_inputs(encoder, batches)
    names = {module: name for name, module in encoder.named_modules()}

    def factors(*layers: nn.Linear) -> Tensor:
        inputs = seen[names[layers[0]]]
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
    inputs = [attention.query, attention.key, attention.value]
    _move(factors(*inputs), _producer(block, block.attention_norm, attention), inputs)
    _move(factors(attention.out), attention.value, [attention.out])


def _smooth_mlp(block: Block, factors: FactorsOf) -> None:
    mlp = block.mlp
    inputs = [mlp.up] if mlp.gate is None else [mlp.up, mlp.gate]
    _move(factors(*inputs), _producer(block, block.mlp_norm, mlp), inputs)
    if mlp.gate is not None:  # linear in the gating half, which is not activated
        _move(factors(mlp.down), mlp.gate, [mlp.down])


def _producer(block: Block, norm: nn.Module, module: Attention | MLP) -> nn.LayerNorm | Scale:
    """What takes the division: the norm before, or a new multiplication where its output is also the residual."""
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
def _rounding_error(inputs: _Inputs, consumers: Sequence[nn.Linear], factors: Tensor) -> float:
    """Expected squared error of the products of a row, after division by the factors: a step's width squared over 12
    for each rounded number, times the square of what it is multiplied with. Relative to the layers' outputs."""
    step = 2 * float((inputs.peak / factors).max()) / STEPS
    mean_squares = inputs.squares / inputs.count
    error = 0.0
    for layer in consumers:
        weight = layer.weight * factors  # [out, in]
        of_activation = step**2 * weight.square().sum()
        steps = 2 * weight.abs().amax(1) / STEPS
        of_weight = GPTQ_ERROR_SHARE * steps.square().sum() * (mean_squares / factors.square()).sum()
        error += float((of_activation + of_weight) / (layer.weight.square() * mean_squares).sum())
    return error


@torch.no_grad()
def _observe_inputs(encoder: Encoder, batches: Iterable[MaskedBatch]) -> dict[str, _Inputs]:
    """What each linear layer was given over the batches, by module name."""
    seen: dict[str, _Inputs] = {}

    def observe(name: str, module: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].flatten(0, -2)
        if name not in seen:
            nothing = torch.zeros(module.in_features)
            seen[name] = _Inputs(nothing, nothing, 0)
        seen[name].add(x)

    linears = [(name, module) for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(partial(observe, name)) for name, module in linears]
    try:
        for batch in batches:
            encoder(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.mask_positions))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
