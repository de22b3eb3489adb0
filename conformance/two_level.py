"""Host code with two-level paging, for steps in protected mode without paging."""

from harness.model.registers import Cr0, Cr4


def turned_on(root: int, cr4: int = Cr4.PSE) -> str:
    """Turn it on, with these tables; all linear addresses that are used must be the physical ones."""
    return f"mov eax, {root:#x}\nmov cr3, eax\nmov eax, {cr4:#x}\nmov cr4, eax\n{_toggle_pg()}"


def turned_off() -> str:
    """Turn it off, and PAE on again.

    The way back to long mode sets EFER.LME before CR4.PAE. An exit between the two to a hypervisor below would lose the
    CR0 of that when it runs in QEMU (docs/findings.md).
    """
    return f"{_toggle_pg()}mov eax, {Cr4.PAE:#x}\nmov cr4, eax\n"


def _toggle_pg() -> str:
    return f"mov eax, cr0\nxor eax, {Cr0.PG:#x}\nmov cr0, eax\n"
