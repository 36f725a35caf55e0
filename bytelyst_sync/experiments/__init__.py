"""A/B tests that work offline, on the durable queue.

``Experiments(engine)`` assigns units to variations, records exposures and conversions with the
durability of ``push``, and shows results that may be looked at every day. ``import bytelyst_sync``
does not import it.
"""

from bytelyst_sync.experiments.assigner import Assignment
from bytelyst_sync.experiments.experiments import Experiments, experiment_entities
from bytelyst_sync.experiments.growthbook import growthbook_entities
from bytelyst_sync.experiments.ledger import Ledger, MemoryLedger
from bytelyst_sync.experiments.receiver import Receiver

__all__ = [
    "Assignment",
    "Experiments",
    "Ledger",
    "MemoryLedger",
    "Receiver",
    "experiment_entities",
    "growthbook_entities",
]
