"""Chooses engines by what a person says: ``auto``, ``tcg``, ``kvm``, names such as ``qemu-10.0``, or ``all``."""

from __future__ import annotations

import os

from harness.engines import kvm
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.errors import EngineError, SvmconfError

SYSTEM = "qemu-system"
"""The QEMU that this machine has on its PATH, or ``SVMCONF_QEMU``."""

_KVM = "+kvm"
_FAMILIES = ("qemu", "bochs", "kvm", "xen")


def binary() -> str:
    """The system's QEMU: ``SVMCONF_QEMU``, or the one on the PATH."""
    return os.environ.get("SVMCONF_QEMU", "qemu-system-x86_64")


def names(choice: str = "auto") -> tuple[str, ...]:
    """The names of the engines that a choice means; raise :class:`SvmconfError` for one that does not exist."""
    if choice == "auto":
        return (SYSTEM + _KVM,) if kvm.detect().svm else (SYSTEM,)
    if choice == "tcg":
        return (SYSTEM,)
    if choice == "kvm":
        return (SYSTEM + _KVM,)
    from harness.engines import store

    known = (SYSTEM, *store.known())
    if choice == "all":
        return known
    wanted = tuple(dict.fromkeys(name.strip() for name in choice.split(",") if name.strip()))
    for name in wanted:
        if name.removesuffix(_KVM) not in known:
            raise SvmconfError(f"no engine {name!r}", f"one of: auto, tcg, kvm, all, {', '.join(known)}")
    return wanted


def one(choice: str = "auto") -> Engine:
    """The single engine that a choice means; raise :class:`SvmconfError` where it means several, or is missing."""
    wanted = names(choice)
    if len(wanted) != 1:
        raise SvmconfError(f"this takes one engine, not {', '.join(wanted) or 'none'}", "--engine NAME")
    return engine(wanted[0])


def engine(name: str) -> Engine:
    """The engine of that name; raise :class:`SvmconfError` naming what is missing."""
    if name == SYSTEM:
        found = kvm.detect()
        why = "emulates SVM on any machine" + ("" if found.svm else f"; not KVM, since {found.why}")
        return Qemu.of_system(binary(), why=why)
    if name == SYSTEM + _KVM:
        return Qemu.of_system(binary(), "kvm", _kvm())
    from harness.engines import store

    bare = name.removesuffix(_KVM)
    family = bare.partition("-")[0]
    if family not in _FAMILIES:
        family = store.runnable(bare).family  # one that the user added, under a name of their own
    if family == "qemu":
        it = store.runnable(bare)
        accelerator, why = ("kvm", _kvm()) if name.endswith(_KVM) else ("tcg", "")
        return Qemu(name, it.argv, accelerator, why, it.arguments, it.env)
    if name.endswith(_KVM):
        raise SvmconfError(f"{bare} is no QEMU: it has no {_KVM}")
    if family == "bochs":
        from harness.engines.bochs import Bochs

        return Bochs(name)
    if family == "kvm":
        from harness.engines.kvm_in_tcg import KvmInTcg

        return KvmInTcg(name)
    if family == "xen":
        from harness.engines.xen import Xen

        return Xen(name)
    raise SvmconfError(f"no engine {name!r}", "svmconf engines list")


def _kvm() -> str:
    """Why KVM may be used; raise :class:`EngineError` when it offers no SVM to guests."""
    found = kvm.detect()
    if not found.svm:
        raise EngineError(f"no engine with KVM here: {found.why}", "--engine tcg needs no hardware")
    return found.why
