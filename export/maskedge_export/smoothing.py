"""SmoothQuant (Xiao et al. 2022): move the activations' outlier channels into the weights, which tolerate them.

Each input channel j of a linear layer is divided by s_j = max|x_j|^a / max|W_j|^(1 - a), and its weights multiplied by
it. The product is the same; the activation's range is smaller. The division is folded into what comes before: a norm,
the value projection, the gating half of an MLP; where nothing takes it, one multiplication is added.
"""

import copy
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from maskedge_export.calibration import Batch
from maskedge_export.encoder import Attention, Block, Encoder, Scale

__all__ = ["smoothed"]

STRENGTH = 0.5
"""a above. 0.4 to 0.7 were within each other's noise on the first trained model; 0.5 kept the weights' own error least."""


def smoothed(encoder: Encoder, batches: Iterable[Batch], strength: float = STRENGTH) -> Encoder:
    """A copy of the encoder with the same function, whose activations quantize better."""
    peaks = _input_peaks(encoder, batches)
    encoder = copy.deepcopy(encoder)
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, Block)
        _smooth_block(block, partial(_factors, peaks, f"blocks.{index}", strength))
    if isinstance(encoder.final_norm, nn.LayerNorm):
        factors = _factors(peaks, "head", strength, "dense", encoder.head.dense)
        _divide_norm(encoder.final_norm, factors)
        _multiply_input(encoder.head.dense, factors)
    return encoder


def _smooth_block(block: Block, factors_of: "partial[Tensor]") -> None:
    attention, mlp = block.attention, block.mlp
    before = [
        (attention, "attention.qkv", attention.qkv, block.attention_norm),
        (mlp, "mlp.up", mlp.up, block.mlp_norm),
    ]
    for module, name, linear, norm in before:
        factors = factors_of(name, linear)
        if block.pre_norm and isinstance(norm, nn.LayerNorm):
            _divide_norm(norm, factors)
        else:  # the norm's output is also the residual, which must stay
            module.input_scale = Scale(1 / factors)
        _multiply_input(linear, factors)
    hidden = attention.out.in_features
    factors = factors_of("attention.out", attention.out)
    _divide_output(attention.qkv, slice(2 * hidden, None), factors)  # the value projection's part
    _multiply_input(attention.out, factors)
    if mlp.gated:
        factors = factors_of("mlp.down", mlp.down)
        _divide_output(mlp.up, slice(mlp.down.in_features, None), factors)  # the half that is not activated
        _multiply_input(mlp.down, factors)


def _factors(peaks: dict[str, Tensor], prefix: str, strength: float, name: str, linear: nn.Linear) -> Tensor:
    """s of each input channel, scaled to a geometric mean of 1."""
    tiny = 1e-5
    activation = peaks[f"{prefix}.{name}"].clamp(min=tiny)
    weight = linear.weight.detach().abs().amax(0).clamp(min=tiny)
    factors = activation**strength / weight ** (1 - strength)
    return factors / factors.log().mean().exp()


@torch.no_grad()
def _divide_norm(norm: nn.LayerNorm, factors: Tensor) -> None:
    norm.weight /= factors
    if norm.bias is not None:
        norm.bias /= factors


@torch.no_grad()
def _divide_output(linear: nn.Linear, rows: slice, factors: Tensor) -> None:
    linear.weight[rows] /= factors.unsqueeze(1)
    if linear.bias is not None:
        linear.bias[rows] /= factors


@torch.no_grad()
def _multiply_input(linear: nn.Linear, factors: Tensor) -> None:
    linear.weight *= factors


@torch.no_grad()
def _input_peaks(encoder: Encoder, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """max|x_j| over the batches, of each channel of each linear layer's input; [in_features] by module name."""
    peaks: dict[str, Tensor] = {}

    def observe(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        peak = inputs[0].abs().flatten(0, -2).amax(0)
        peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak

    hooks = []
    for name, module in encoder.named_modules():
        # the last layer calls parts of qkv's weight, not the module, so its input is watched at the attention's door
        watched = f"{name}.qkv" if isinstance(module, Attention) else name
        if isinstance(module, Attention) or (isinstance(module, nn.Linear) and not name.endswith(".qkv")):
            hooks.append(module.register_forward_pre_hook(partial(observe, watched)))
    try:
        for batch in batches:
            encoder(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.mask_positions))
    finally:
        for hook in hooks:
            hook.remove()
    return peaks
