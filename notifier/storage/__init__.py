"""
EDGE down: the one place that knows SQL.

`schema` holds the tables, `files` opens and locks the database, `pages`, `timers`
and `outbox` the statements of one loop each, `look` what people read, `store` puts
them behind turns of the one writer.
"""
