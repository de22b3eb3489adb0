"""Xen inside TCG: a domain of Xen as a machine like any other.

L0 is QEMU with TCG; L1 is Xen, with a Linux dom0 that holds no more than xl; L2, a PVH domain with nested SVM, is the
machine in which images run; L3 is the guest of a hypervisor in it.

Xen offers no debugger, exit port or console that suits us. L0 does: TCG runs every layer on the same virtual processor,
so L0's gdbstub stops at an address of the domain and shows the domain's registers, and the domain's memory lies in L0's
RAM, which is a file that we map. So everything is read from outside, live, and nothing runs in dom0 for it.

=============  ==========================================================================================
``parking``    the code in which a new domain waits for an image
``dom0``       what Xen boots: dom0's initramfs, which creates the domain
``found``      where in L0's RAM Xen keeps what we need to know of the domain: found by looking, not by offsets
``layer``      L0's QEMU with Xen in it, booting or restored
``snapshot``   boots once, keeps the state, restores it in 0.2 s for each case
``memory``     the domain's memory
``debugger``   L0's gdbstub, narrowed to the domain
``ending``     how the domain ended, by its VMCB and by what Xen printed
``machine``    all of it as a :class:`harness.machine.base.Machine`
=============  ==========================================================================================
"""
