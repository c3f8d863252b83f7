"""
The fault ledger: what the service is made to suffer, and what came of it.

* __main__   `python -m faults`, from the folder `tests/system`
* ledger     a row, what was counted, and how rows are run
* page       docs/faults.md, written from results and read again
* catalogue  every row, in order
* scene      the API, the far end and the service of one row
* verdict    what was told, held against the pages that were served
* proxy      a wire that fails
* strace     system calls that fail, or kill
* unsynced   a disk that loses what was not synced when the power is cut
* dbapi      SQLite on that disk, spoken to as the store does
* acknowledged  what a store has acknowledged, against what is left of it
* cuts       life after life of a store, each ended by a power cut
* services   the service with one thing changed: its clock, its disk, its trust ...
* rows_*     the rows: process, disk, power, upgrade, upkeep, far end, mail, hostile,
             source, time, quiet hours
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "support"))
