"""How much an error in a token's embedding matters, in each direction: the Fisher information of the predictions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from maskedge.arrays import Float32Array
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["embedding_fisher"]


def embedding_fisher(encoder: Encoder, batches: Iterable[MaskedBatch]) -> Float32Array:
    """The Fisher information of an encoder's token embeddings: the sum of g g^T [width, width] over the tokens of the
    batches.

    g is the gradient, by a token's embedding, of the log-probability of a token drawn from the encoder's own prediction
    at the mask. An error e in an embedding changes the predictions by half of e^T (sum of g g^T) e, as a KL divergence,
    so this is to the embedding table what the Hessian is to the weight of a MatMul. On the first model 50 of 384
    directions held 90 % of it.

    Args:
        encoder: Its weights stay as they are, and take no gradients afterwards.
        batches: One mask a row, of which the predictions are taken.
    """
    generator = torch.Generator().manual_seed(0)
    fisher = torch.zeros(encoder.config.embedding_width, encoder.config.embedding_width)
    embedded: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_(True))
        return embedded[-1]

    encoder.requires_grad_(False)  # gradients by weights would keep every layer's inputs in memory
    hook = encoder.embedding.tokens.register_forward_hook(keep)
    try:
        for batch in batches:
            logits = encoder(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.mask_positions))
            logprobs = torch.log_softmax(logits[:, 0], -1)
            # Drawn from the predictions, not the text's own tokens: so the mean of g g^T is the Fisher information.
            drawn = torch.multinomial(logprobs.detach().exp(), 1, generator=generator)
            (gradient,) = torch.autograd.grad(logprobs.gather(1, drawn).sum(), embedded.pop())
            gradient = gradient.flatten(0, -2)
            fisher += gradient.T @ gradient
    finally:
        hook.remove()
    return fisher.numpy()
