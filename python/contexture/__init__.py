"""Opens the output of `contexture run`: how much of each output vector of a Transformer came from each input token.

    import contexture
    run = contexture.open_run("out")
    sequence = run["doc-17"]                        # or run[3]
    sequence.tokens                                 # ["[CLS]", "the", …]
    sequence.maps["ff_res_ln"]                      # [layer, target, source]
    sequence.mixing_ratio["ff_res_ln"]              # [layer, token]

Nothing is read before it is asked for. `contexture.plot` draws, and `python -m contexture.plot` does so from a shell.
"""

from contexture.errors import RunError, UnknownName
from contexture.run import Run, open_run
from contexture.sequence import Flags, Sequence

STAGES: tuple[str, ...] = ("attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln")
"""The stages of a layer, in the order in which a token's vector passes them."""

__version__ = "0.1.0"

__all__ = ["STAGES", "Flags", "Run", "RunError", "Sequence", "UnknownName", "__version__", "open_run"]
