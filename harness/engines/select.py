"""Chooses an engine by what a person says: ``auto``, ``tcg``, ``kvm``."""

from __future__ import annotations

import os

from harness.engines import kvm
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.errors import EngineError, SvmconfError

CHOICES = ("auto", "tcg", "kvm")


def binary() -> str:
    """The QEMU to run: ``SVMCONF_QEMU``, or the system's."""
    return os.environ.get("SVMCONF_QEMU", "qemu-system-x86_64")


def engine(choice: str = "auto") -> Engine:
    """The engine for a choice; raise :class:`SvmconfError` naming what is missing."""
    if choice not in CHOICES:
        raise SvmconfError(f"no engine {choice!r}", f"one of: {', '.join(CHOICES)}")
    if choice == "tcg":
        return Qemu(binary(), "tcg", "chosen by --engine tcg")
    found = kvm.detect()
    if found.svm:
        return Qemu(binary(), "kvm", found.why)
    if choice == "kvm":
        if not found.usable:
            raise EngineError(f"--engine kvm: {found.why}", "--engine tcg needs no hardware")
        return Qemu(binary(), "kvm", f"chosen by --engine kvm, although {found.why}")
    return Qemu(binary(), "tcg", f"emulates SVM on any machine; not KVM, since {found.why}")
