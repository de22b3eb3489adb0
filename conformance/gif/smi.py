"""SMIs that a program sends its processor, and a handler for where no firmware has set one up.

The handler lies where SMM begins after reset (vol. 2, 10.2). Firmware that has moved SMM has one of its own there.
"""

from harness.lab.assemble import assemble

SMI = 0x4200
"""For the macro ``send``: delivery mode SMI."""

HANDLER = {0x3_8000: assemble("rsm", 16)}
