"""The encoders that maskedge trains and exports: BERT's post-norm layout and ModernBERT's pre-norm one.

Shapes: B texts of one length L, K masks a text, D hidden units, H heads, V vocabulary entries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "Encoder", "EncoderConfig"]

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Everything that tells one encoder's graph from another's."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    """Blocks with weights of their own."""
    num_heads: int
    intermediate_size: int
    max_length: int
    """Longest text in tokens, special tokens included."""
    pre_norm: bool
    """True: ModernBERT's x + f(norm(x)). False: BERT's norm(x + f(x))."""
    gated_mlp: bool
    """Two half-width projections, one gating the other (Shazeer 2020), instead of one."""
    rope_thetas: tuple[float, ...] = ()
    """Base of the rotary frequencies of each layer; empty: learned absolute positions."""
    windows: tuple[int | None, ...] = ()
    """How far each layer sees to either side; None: the whole text. Empty: all layers do."""
    passes: int = 1
    """How often each block is applied before the next one; ALBERT (Lan et al. 2020) applies one block many times."""
    embedding_size: int | None = None
    """Width of the token table and of the head's output, where narrower than the hidden vectors (ELECTRA, ALBERT)."""
    embedding_projection: bool = False
    """Whether a linear layer leads from the embedding to the first block."""
    position_padding_id: int | None = None
    """RoBERTa counts positions from this id + 1 and skips tokens of this id; None: positions start at 0."""
    norm_eps: float = 1e-5
    norm_bias: bool = True
    linear_bias: bool = True
    decoder_bias: bool = True
    head_dense_bias: bool = True
    activation: str = "gelu"
    head_activation: str = "gelu"

    @property
    def head_size(self) -> int:
        """Units of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def embedding_width(self) -> int:
        """Units of an embedded token."""
        return self.embedding_size or self.hidden_size


def take(x: Tensor, positions: Tensor) -> Tensor:
    """The rows of x [B, L, D] at positions [B, K]: [B, K, D]."""
    # not take_along_dim: exporting it would fix the batch and the length
    return torch.gather(x, 1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    """Multi-head attention of q [B, Q, D] over k and v [B, L, D]; mask [B, 1, Q, L] is True where it may look."""
    if torch.compiler.is_exporting():  # becomes one ONNX node, without the transposes
        return torch.onnx.ops.attention(q, k, v, mask, q_num_heads=num_heads, kv_num_heads=num_heads)[0]
    q, k, v = (x.view(*x.shape[:2], num_heads, -1).transpose(1, 2) for x in (q, k, v))
    mixed = _attend_written_out if q.requires_grad and q.is_cpu else F.scaled_dot_product_attention
    return mixed(q, k, v, mask).transpose(1, 2).flatten(2)


def _attend_written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """scaled_dot_product_attention in steps: on a CPU the fused one's gradient took a quarter of a training step."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.matmul(scores.softmax(-1).to(v.dtype), v)


def rotate(x: Tensor, positions: Tensor, cos: Tensor, sin: Tensor, num_heads: int) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of x [B, L, D]; cos and sin are [max_length, head_size / 2]."""
    if torch.compiler.is_exporting():
        return torch.onnx.ops.rotary_embedding(x, cos, sin, positions, num_heads=num_heads)
    first, second = x.view(*x.shape[:2], num_heads, -1).chunk(2, dim=-1)
    c, s = cos[positions].unsqueeze(2), sin[positions].unsqueeze(2)
    return torch.cat((first * c - second * s, second * c + first * s), dim=-1).flatten(2)


def rotary_angles(config: EncoderConfig, layer: int) -> Tensor:
    """A layer's rotation of each pair of units at each position [max_length, head_size / 2], radians."""
    with torch.device("cpu"):  # no checkpoint holds them: made even where weights are only announced
        exponents = torch.arange(0, config.head_size, 2).float() / config.head_size
        return torch.outer(torch.arange(config.max_length).float(), 1.0 / config.rope_thetas[layer] ** exponents)


class Scale(nn.Module):
    """Multiplies each channel by a constant. Smoothing puts one where no norm takes its factors."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Embedding(nn.Module):
    """Token ids [B, L] -> vectors [B, L, D]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.padding_id = config.position_padding_id
        width = config.embedding_width
        self.tokens = nn.Embedding(config.vocab_size, width)
        offset = 0 if self.padding_id is None else self.padding_id + 1
        self.positions = None if config.rope_thetas else nn.Embedding(config.max_length + offset, width)
        self.norm = nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias)
        self.project = nn.Linear(width, config.hidden_size) if config.embedding_projection else nn.Identity()

    def position_ids(self, input_ids: Tensor) -> Tensor:
        if self.padding_id is None:
            return torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        counted = (input_ids != self.padding_id).long()
        return counted.cumsum(1) * counted + self.padding_id

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids)
        if self.positions is not None:
            x = x + self.positions(self.position_ids(input_ids))
        return self.project(self.norm(x))


class Attention(nn.Module):
    """Self-attention of the rows `at` (all rows, where None) over the whole text."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.window = config.windows[layer] if config.windows else None
        self.input_scale: nn.Module = nn.Identity()
        # three layers, not one three times as wide: splitting its output would cost more than it saves
        self.query, self.key, self.value, self.out = (
            nn.Linear(config.hidden_size, config.hidden_size, bias=config.linear_bias) for _ in range(4)
        )
        self.rotary = bool(config.rope_thetas)
        if self.rotary:
            angles = rotary_angles(config, layer)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, at: Tensor | None = None, causal: bool = False) -> Tensor:
        x = self.input_scale(x)
        everywhere = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        queried = everywhere if at is None else at
        q, k, v = self.query(x if at is None else take(x, at)), self.key(x), self.value(x)
        if self.rotary:
            q = rotate(q, queried, self.cos, self.sin, self.num_heads)
            k = rotate(k, everywhere, self.cos, self.sin, self.num_heads)
        return self.out(attend(q, k, v, self.num_heads, self._visible(queried, everywhere, causal)))

    def _visible(self, queried: Tensor, everywhere: Tensor, causal: bool) -> Tensor | None:
        """What each row looks at, [B, 1, Q, L]; None for everything."""
        distance = queried[:, :, None] - everywhere[:, None, :]
        mask = None if self.window is None else distance.abs() <= self.window
        if causal:
            mask = distance >= 0 if mask is None else mask & (distance >= 0)
        return None if mask is None else mask.unsqueeze(1)


class MLP(nn.Module):
    """The feed-forward half of a block, [.., D] -> [.., D]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.input_scale: nn.Module = nn.Identity()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.linear_bias)
        self.gate = (
            nn.Linear(config.hidden_size, config.intermediate_size, config.linear_bias) if config.gated_mlp else None
        )
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.linear_bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_scale(x)
        up = self.activation(self.up(x))
        return self.down(up if self.gate is None else up * self.gate(x))


class Block(nn.Module):
    """One layer. Where `at` [B, K] is given, only those rows come out: [B, K, D] instead of [B, L, D]."""

    def __init__(self, config: EncoderConfig, layer: int) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)
        norm_is_embedding = config.pre_norm and layer == 0  # the embedding has just been normed
        self.attention_norm = nn.Identity() if norm_is_embedding else self.norm(config)
        self.mlp_norm = self.norm(config)

    @staticmethod
    def norm(config: EncoderConfig) -> nn.Module:
        return nn.LayerNorm(config.hidden_size, config.norm_eps, bias=config.norm_bias)

    def forward(self, x: Tensor, at: Tensor | None = None, causal: bool = False) -> Tensor:
        kept = x if at is None else take(x, at)
        if self.pre_norm:
            x = kept + self.attention(self.attention_norm(x), at, causal)
            return x + self.mlp(self.mlp_norm(x))
        x = self.attention_norm(kept + self.attention(x, at, causal))
        return self.mlp_norm(x + self.mlp(x))


class Head(nn.Module):
    """Hidden rows [.., D] -> logits [.., V]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width, bias=config.head_dense_bias)
        self.activation = ACTIVATIONS[config.head_activation]
        self.norm = nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias)
        self.decoder = nn.Linear(width, config.vocab_size, bias=config.decoder_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.norm(self.activation(self.dense(x))))


class Encoder(nn.Module):
    """A masked language model."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.final_norm = Block.norm(config) if config.pre_norm else nn.Identity()
        self.head = Head(config)

    def forward(self, input_ids: Tensor, mask_positions: Tensor, causal: bool = False) -> Tensor:
        """Logits [B, K, V] at mask_positions [B, K] of input_ids [B, L].

        The last layer and the head, which hold most of a small model's work, run at those positions only. With
        `causal`, which only training uses, no position sees those after it.
        """
        x = self.embedding(input_ids)
        *others, last = (block for block in self.blocks for _ in range(self.config.passes))
        for block in others:
            x = block(x, causal=causal)
        return self.head(self.final_norm(last(x, mask_positions, causal)))
