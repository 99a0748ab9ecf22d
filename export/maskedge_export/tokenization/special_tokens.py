"""Special and added tokens: put into a tokenizer as its directory and class name them, and around a text."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, processors

from maskedge_export.errors import CheckpointError
from maskedge_export.tokenization.classes import TokenizerClass
from maskedge_export.tokenization.settings import Settings

__all__ = ["add_tokens", "check_ids", "frame"]


def add_tokens(tokenizer: Tokenizer, settings: Settings, *, defaults: bool) -> None:
    """Add the tokens that the settings name, in the order in which transformers gives them ids.

    Without `defaults` the tokenizer's own list of added tokens stands, and of special tokens that only the class names
    those that the vocabulary has are added.
    """
    named = [*settings.added.values(), *_special_tokens(settings, defaults, tokenizer)]
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_tokens([token for token in named if defaults or token.content not in known])


def _special_tokens(settings: Settings, defaults: bool, tokenizer: Tokenizer) -> Iterable[AddedToken]:
    """The special tokens with their flags, but for those that `settings.added` states the flags of."""
    kind = settings.kind
    flagged = {token.content for token in settings.added.values() if settings.flags_stated}
    for role, token in settings.special_tokens().items():
        wanted = defaults or role in settings.roles or tokenizer.token_to_id(str(token)) is not None
        if wanted and not (role in settings.roles and str(token) in flagged):
            yield _with_flags(token, kind if role == "mask_token" else None)
    for token in [*settings.extra, *(kind.extra if defaults and kind is not None else ())]:
        if str(token) not in flagged:
            yield _with_flags(token, None)


def _with_flags(token: str | AddedToken, mask_of: TokenizerClass | None) -> AddedToken:
    """A special token with the flags it is stated with, or else those that its class gives to a mask."""
    if not isinstance(token, str):
        return token
    takes_space, normalized = (False, False) if mask_of is None else (mask_of.mask_takes_space, mask_of.mask_normalized)
    return AddedToken(token, special=True, lstrip=takes_space, normalized=normalized)


def frame(tokenizer: Tokenizer, settings: Settings, kind: TokenizerClass) -> processors.PostProcessor:
    """What puts the special tokens around a text."""
    start, end = map(settings.role, ("cls_token", "sep_token" if "sep_token" in kind.roles else "eos_token"))
    ids = {token: tokenizer.token_to_id(token) or 0 for token in (start, end)}
    if "trim_offsets" in kind.options:
        return processors.RobertaProcessing(
            (end, ids[end]), (start, ids[start]), settings.flag("trim_offsets"), settings.flag("add_prefix_space")
        )
    return processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=list(ids.items()))


def check_ids(tokenizer: Tokenizer, settings: Settings) -> None:
    """Raises CheckpointError where a token that was added has another id than its directory states."""
    for index, token in settings.added.items():
        found = tokenizer.token_to_id(token.content)
        if found != index:
            raise CheckpointError(
                f"{settings.directory} contradicts itself: the token {token.content!r}, added with the id {index}, has "
                f"the id {found} in its vocabulary; correct the one the model was not trained with"
            )
