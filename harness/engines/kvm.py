"""Whether this machine's KVM offers SVM to guests: asked of the kernel, not guessed from files."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_DEVICE = Path("/dev/kvm")
_GET_API_VERSION = 0xAE00
_GET_SUPPORTED_CPUID = 0xC008AE05
_ENTRIES = 256
_ENTRY = struct.Struct("<7I12x")
_SVM = 1 << 2


@dataclass(frozen=True)
class Kvm:
    """What was found: whether KVM works at all, whether it offers SVM to guests, and one line that says why."""

    usable: bool
    svm: bool
    why: str


def detect(device: Path = _DEVICE) -> Kvm:
    """Ask ``KVM_GET_SUPPORTED_CPUID`` for Fn8000_0001_ECX[SVM]."""
    if not device.exists():
        return Kvm(False, False, f"no {device}")
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return Kvm(False, False, f"{device} cannot be opened: {error.strerror}")
    try:
        if fcntl.ioctl(descriptor, _GET_API_VERSION) != 12:
            return Kvm(False, False, f"{device} speaks an unknown version of the API")
        entries = _supported_cpuid(descriptor)
    except OSError as error:
        return Kvm(False, False, f"{device} does not answer: {error.strerror}")
    finally:
        os.close(descriptor)
    if entries.get(0x8000_0001, 0) & _SVM:
        return Kvm(True, True, "KVM offers SVM to guests (kvm_amd nested=1)")
    nested = Path("/sys/module/kvm_amd/parameters/nested")
    if nested.exists() and nested.read_text().strip() in ("0", "N"):
        return Kvm(True, False, "kvm_amd is loaded with nested=0: reload it with nested=1")
    return Kvm(True, False, "KVM works but offers no SVM to guests (the host's CPU or hypervisor has none to give)")


def _supported_cpuid(descriptor: int) -> dict[int, int]:
    """ECX of every leaf that KVM supports, by leaf."""
    request = bytearray(struct.pack("<II", _ENTRIES, 0) + bytes(_ENTRY.size * _ENTRIES))
    fcntl.ioctl(descriptor, _GET_SUPPORTED_CPUID, request, True)
    (count,) = struct.unpack_from("<I", request)
    leaves: dict[int, int] = {}
    for number in range(count):
        function, _index, _flags, _eax, _ebx, ecx, _edx = _ENTRY.unpack_from(request, 8 + number * _ENTRY.size)
        leaves[function] = ecx
    return leaves
