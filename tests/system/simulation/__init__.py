"""
Virtual days of the whole service on trio's MockClock, for as many seeds as you like.

The service is built by `notifier.app` as in real life; only its clock, its network,
its far ends and its threads are simulated. The database is a real one. A seed
decides what happens to Kalshi's list, which answers go wrong, how the destinations
behave, and when the process dies: at any moment, before or after any statement,
within any send. Then everything is repaired, and the whole story is judged.

    python -m simulation --seeds 1000        in the folder `tests/system`
    python -m simulation --first 17 --seeds 1 --trace

The same seed is the same story to the microsecond; a failure prints seed and trace.

* fate       what a seed decides beforehand: lives and deaths of the process
* machine    virtual time, and a process that may die at any statement
* weather    what happens to the list
* wire       the network to the API: delays, faults, and a log of what arrived
* far_end    the destinations: arrivals, and every way to misbehave
* reference  what should have happened, computed from the answers that arrived
* rows       how the reference reads a row: nothing of the service's own
* ledger     the database as it is, in plain SQL
* books      what the verdict looks up
* told       what was told of each milestone, and what need not have been
* manners    quiet hours, no repeats, reasons to die: as `story` wants them
* verdict    the story held against the reference
* story      one seed from the first boot to the verdict
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "support"))
