"""Every VMRUN and #VMEXIT of whatever runs, from outside: what they were, what changed, how many instructions it took.

Where the engine is a QEMU with TCG plugins, one of ours (``plugin/``) tells of each, and counts instructions. Elsewhere
the debugger's trace (:mod:`harness.machine.trace`) gives those that it watches.

::

    plugin's events (stream) ──► passages: VMRUN to #VMEXIT to the next VMRUN ──► log, tally
    debugger's trace ──────────►
"""
