"""Talks with Bochs' internal debugger over pipes.

Bochs writes three things to its standard output: what the software writes to port E9h, what the debugger says, and
questions after a panic. They are told apart by state. While the machine stands, all is the debugger's, up to the next
prompt ``<bochs:N>``, which is counted. While it runs, all is the software's, until a stop: a few lines of a known form,
the last of them the prompt that is due.
"""

from __future__ import annotations

import os
import re
import select
from dataclasses import dataclass

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError
from harness.machine.bochs.log import Log

PATIENCE = 10.0
"""Seconds. Answers take a fraction of a millisecond; a machine under load may need more."""

_REASON = rb"\(0\) (?:Breakpoint \d+, |Caught |Magic )[^\n]*\n"
_STOP = re.compile(rb"((?:" + _REASON + rb")*)Next at t=\d+\n((?:[^\n]*\n){1,3})<bochs:(\d+)> \Z")
_MAY_BE_STOP = re.compile(rb"\(0\) (?:Breakpoint \d|Caught |Magic )|Next at t=\d|\(0\)\.\[\d")
_QUESTION = re.compile(rb"(?:\a?={70,}\nEvent type: .*)?Choose one of the actions above: \[\w*\] \Z", re.S)
_LONGEST_STOP, _LONGEST_LINE = 2048, 8192
_STATE_AT_FAULT = re.compile(rb"\(0\)\.\[\d+\] [^\n]*\n")


@dataclass(frozen=True)
class Halt:
    """Where and why the debugger stopped: its reasons (none after an interrupt), and the next instruction."""

    reasons: str
    next: str


class Dialogue:
    """Sends commands to ``to``, reads answers from ``answers``, the log from ``log_pipe``: descriptors, ours to close.

    ``printed`` is what the software has printed so far.
    """

    def __init__(self, to: int, answers: int, log_pipe: int, log: Log) -> None:
        self.log = log
        self.printed = bytearray()
        self.closed = False
        self._to, self._answers, self._log_pipe = to, answers, log_pipe
        self._text = b""
        self._prompt = 1
        self._echo = b""
        self._poll = select.poll()
        self._poll.register(answers, select.POLLIN)
        self._poll.register(log_pipe, select.POLLIN)

    def first_prompt(self, deadline: Deadline) -> None:
        """Wait until it stands before the first instruction."""
        while (start := self._text.find(b"<bochs:1> ")) < 0:
            self._must_pump(deadline)
            if self.asked():
                self.reply("die")
        self._text = self._text[start + len(b"<bochs:1> ") :]
        self.log.forget()

    def ask(self, *commands: str) -> list[str]:
        """What it says to each of these commands, which must not let the machine run; they are sent at once."""
        deadline = Deadline.after(PATIENCE)
        self._send("".join(command + "\n" for command in commands))
        return [self._answer(command, deadline) for command in commands]

    def _answer(self, command: str, deadline: Deadline) -> str:
        due = b"<bochs:%d> " % (self._prompt + 1)
        while (end := self._text.find(due)) < 0:
            self._must_pump(deadline)
        answer, self._text = self._text[:end], self._text[end + len(due) :]
        self._prompt += 1
        return answer.decode("latin-1").removeprefix(command + "\n")

    def go(self, command: str) -> None:
        """Let the machine run by this command; the stop comes by :meth:`stopped`."""
        self._send(command + "\n")
        self._echo = command.encode() + b"\n"

    def under_way(self, deadline: Deadline) -> None:
        """Wait until it has read that command. Readline loses a line when it is interrupted in the midst of it."""
        self._drop_echo()
        while self._echo and not deadline.passed and not self.closed:
            self.pump(deadline)
            self._drop_echo()

    def stopped(self) -> Halt | None:
        """The stop, if it has come."""
        if not self._text.endswith(b"> "):
            return None
        self._drop_echo()
        tail = max(0, len(self._text) - _LONGEST_STOP)
        match = _STOP.search(self._text[tail:])
        if match is None or int(match[3]) != self._prompt + 1:
            return None
        self._print(self._text[: tail + match.start()])
        self._text = b""
        self._prompt += 1
        return Halt(match[1].decode("latin-1"), match[2].decode("latin-1"))

    def asked(self) -> bool:
        """Whether it waits to be told what to do about a panic."""
        match = _QUESTION.search(self._text) if self._text.endswith(b"] ") else None
        if match is None:
            return False
        self._drop_echo()
        self._print(self._text[: -len(match[0])])
        self._text = b""
        return True

    def reply(self, choice: str) -> None:
        """What to do about the panic: ``cont``, ``debug`` or ``die``."""
        self._send(choice + "\n")

    def flush(self) -> int:
        """Have in ``printed`` all that the software has printed for sure while it runs; return how much that is."""
        self._drop_echo()
        end = len(self._text)
        if not self.closed:
            unsure = _MAY_BE_STOP.search(self._text, max(0, end - _LONGEST_STOP))
            end = unsure.start() if unsure else end
            end = max(self._text.rfind(b"\n", 0, end) + 1, end - _LONGEST_LINE)
        self._print(self._text[:end])
        self._text = self._text[end:]
        return len(self.printed)

    def pump(self, deadline: Deadline) -> bool:
        """Take what comes; false when nothing did in time, or nothing can any more."""
        came = False
        patience = 0 if self.closed or deadline.passed else int(deadline.left * 1000) + 1
        for descriptor, _ in self._poll.poll(patience):
            data = os.read(descriptor, 1 << 16)
            came = came or bool(data)
            if not data:
                self._poll.unregister(descriptor)
                self.closed = self.closed or descriptor == self._answers
            elif descriptor == self._answers:
                self._text += data
            else:
                self.log.feed(data)
        return came

    def drain(self) -> None:
        """Take what is there already: the log may have more to say about a stop."""
        while self.pump(Deadline.after(0)):
            pass

    def close(self) -> None:
        """Hang up."""
        for descriptor in (self._to, self._answers, self._log_pipe):
            os.close(descriptor)

    def _must_pump(self, deadline: Deadline) -> None:
        if not self.pump(deadline):
            if self.closed:
                raise EngineError("Bochs is gone")
            if deadline.passed:
                raise DeadlineExceeded("Bochs did not answer in time")

    def _send(self, text: str) -> None:
        try:
            os.write(self._to, text.encode())
        except OSError as error:
            raise EngineError(f"Bochs is gone: {error.strerror}") from error

    def _drop_echo(self) -> None:
        """Readline repeats each command. A Bochs without it does not."""
        if self._echo and len(self._text) >= len(self._echo):
            self._text = self._text.removeprefix(self._echo)
            self._echo = b""

    def _print(self, data: bytes) -> None:
        self.printed += _STATE_AT_FAULT.sub(b"", data)
