"""Lists that stay in a catalog: N different items, none of them seen, and then the end token.

:class:`Trie` opens a file that ``ListTrie::save`` of the Rust crate ``convrec-text`` wrote.
:class:`Cursor` writes one list under it: it knows the tokens that may come next.
:mod:`convrec_constraint.transformers`, :mod:`convrec_constraint.vllm` and
:mod:`convrec_constraint.sglang` are logits processors for these libraries.
"""

from .cursor import Cursor, NotAllowed
from .file import TrieFileError
from .log_probs import log_probs
from .options import Options, OptionsError
from .trie import TooFewItems, Trie

__all__ = [
    "Cursor",
    "NotAllowed",
    "Options",
    "OptionsError",
    "TooFewItems",
    "Trie",
    "TrieFileError",
    "log_probs",
]
