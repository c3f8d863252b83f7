"""Every row, in the order of the page."""

from faults import (
    rows_disk,
    rows_far_end,
    rows_mail,
    rows_process,
    rows_source,
    rows_time,
)
from faults.ledger import Row

ROWS: tuple[Row, ...] = (
    *rows_process.ROWS,
    *rows_disk.ROWS,
    *rows_far_end.ROWS,
    *rows_mail.ROWS,
    *rows_source.ROWS,
    *rows_time.ROWS,
)
