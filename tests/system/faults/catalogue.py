"""Every row, in the order of the page."""

from faults import (
    rows_disk,
    rows_far_end,
    rows_hostile,
    rows_mail,
    rows_more,
    rows_power,
    rows_process,
    rows_quiet,
    rows_source,
    rows_teeth,
    rows_time,
    rows_upgrade,
    rows_upkeep,
)
from faults.ledger import Row

ROWS: tuple[Row, ...] = (
    *rows_process.ROWS,
    *rows_disk.ROWS,
    *rows_power.ROWS,
    *rows_upgrade.ROWS,
    *rows_upkeep.ROWS,
    *rows_far_end.ROWS,
    *rows_mail.ROWS,
    *rows_hostile.ROWS,
    *rows_source.ROWS,
    *rows_teeth.ROWS,
    *rows_time.ROWS,
    *rows_quiet.ROWS,
    *rows_more.ROWS,
)
