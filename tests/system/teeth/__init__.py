"""
The teeth of the proof: what keeps the promise is taken away, and somebody must notice.

Each tooth takes one thing out of a copy of the service, in a folder of its own, and
runs a row of the fault ledger, or seeds of the simulation, there. They must go red,
and for the reason that is expected; without the change they must be green.

* __main__   `python -m teeth`, from the folder `tests/system`
* catalogue  every tooth: what is taken away, who must notice, what they may say
* bite       a judge asked before and after, in a copy; the table in docs/proof.md
* judge      `python -m teeth.judge`, inside the copy: a row or seeds, told as JSON
"""
