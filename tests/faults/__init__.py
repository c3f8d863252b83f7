"""
The fault ledger: what the service is made to suffer, and what came of it.

* __main__   `python -m faults`, from the folder `tests`
* ledger     a row, what was counted, and how rows are run
* page       docs/faults.md, written from results and read again
* catalogue  every row, in order
* scene      the API, the far end and the service of one row
* verdict    what was told, held against the pages that were served
* proxy      a wire that fails
* strace     system calls that fail, or kill
* jumping    the service with a clock that jumps
* rows_*     the rows: process, disk, far end, mail, source, time
"""
