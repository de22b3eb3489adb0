"""svmconf: boots SVM hypervisors and programs on many engines, and judges them by the AMD64 manual.

The flow is one way (docs/architecture.md): a case names what shall boot (:mod:`harness.boot`), an engine
(:mod:`harness.engines`) gives it a machine (:mod:`harness.machine`), what came back is an
:class:`~harness.observation.Observation`, a case judges it, the verdict goes to the ledger, and every report
(:mod:`harness.report`) is a function of the ledger alone.
"""

__version__ = "0.1.0"
