"""
The database: its schema, its statements by aggregate, and who may run them when.

`database` runs functions of the other modules in transactions; these take a connection
first and know nothing of threads or priorities.
"""
