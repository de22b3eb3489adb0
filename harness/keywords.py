"""Pytest's ``-k`` for other things than tests: words that must occur, with ``and``, ``or``, ``not`` and parentheses.

>>> wanted = Keywords("vmrun and not (cpl or SVM-15.4-001)")
>>> wanted.match("test_vmrun_unaligned"), wanted.match("test_VMRUN_at_cpl_3")
(True, False)
"""

from __future__ import annotations

import re

from harness.errors import SvmconfError

_TOKEN = re.compile(r"[()]|[^\s()]+")
_OPERATORS = ("and", "or", "not", "(", ")")


class Keywords:
    """An expression; an empty one matches everything. Raises :class:`SvmconfError` when it is none."""

    def __init__(self, expression: str) -> None:
        tokens = _TOKEN.findall(expression)
        self._words = [token.lower() for token in tokens if token not in _OPERATORS]
        places = iter(range(len(self._words)))
        source = " ".join(token if token in _OPERATORS else f"found[{next(places)}]" for token in tokens)
        try:
            self._code = compile(source or "True", expression, "eval")
        except SyntaxError as error:
            raise SvmconfError(f"-k {expression!r} is no expression", "words, and, or, not, parentheses") from error
        if re.search(r"\] *\(|\( *\)|\] *found", source):  # Python would take it for a call
            raise SvmconfError(f"-k {expression!r} is no expression", "between two words stands and, or")

    def match(self, text: str) -> bool:
        """Whether a text matches; upper and lower case are the same."""
        lower = text.lower()
        return bool(eval(self._code, {"__builtins__": {}}, {"found": [word in lower for word in self._words]}))
